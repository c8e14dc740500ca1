"""A thousand nodes of twenty bricks: plans cost what their input costs."""

import gc
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from dwd.model.ids import NO_BRICK, BrickId, SegmentId, ShardIndex
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.placement.balance import plan_balance, plan_drain
from dwd.placement.holdings import holdings
from dwd.placement.losses import Fate, what_if
from dwd.placement.rendezvous import Candidate, Chooser
from dwd.placement.repair import Damaged, plan_repairs
from tests.unit.placement.cluster import most_in_a_domain, segment, weighed

NODES, IN_NODE = 1000, 20
PROTECTION = Protection(8, 4)
BOUND = 1 << 20
GROWTH_MAX = 3.0  # of time and memory, when the input doubles: a square would be four
NODE_ONE = frozenset(BrickId(i) for i in range(1, IN_NODE + 1))


def cluster(nodes: int = NODES) -> list[Candidate]:
    """Bricks of two sizes, twenty in a node."""
    return [Candidate(BrickId(i), 1.0 + i % 2, f"r/k/{(i - 1) // IN_NODE}") for i in range(1, nodes * IN_NODE + 1)]


def spread_over(count: int, nodes: int = NODES) -> list[Segment]:
    """Segments over nodes in turn, each on twelve of them: quicker than to choose, and as good a placement."""
    return [
        segment(
            number,
            [((number * 7 + i * 31) % nodes) * IN_NODE + (number + i) % IN_NODE + 1 for i in range(PROTECTION.width)],
            PROTECTION,
        )
        for number in range(1, count + 1)
    ]


def cost(work: Callable[[], object]) -> tuple[float, int]:
    """Seconds of the processor and bytes at the peak."""
    gc.collect()
    start = time.process_time()
    work()
    seconds = time.process_time() - start
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return seconds, peak


def beheaded(segments: list[Segment]) -> list[Damaged]:
    """Every segment misses its first shard, which was never placed."""
    return [
        Damaged(msgspec.structs.replace(one, bricks=(NO_BRICK, *one.bricks[1:])), frozenset({ShardIndex(0)}))
        for one in segments
    ]


def lost_node(segments: list[Segment]) -> list[Damaged]:
    """What misses shards without the first node."""
    found = []
    for one in segments:
        bad = frozenset(ShardIndex(i) for i, brick in enumerate(one.bricks) if brick in NODE_ONE)
        if bad:
            found.append(Damaged(one, bad))
    return found


def test_choice_in_a_big_cluster_is_cheap_and_keeps_nodes_apart() -> None:
    """Twelve of 20,000 bricks on twelve nodes, in milliseconds: the cost is that of the nodes."""
    there = cluster()
    chooser = Chooser(there)
    chooser.place(SegmentId(0), PROTECTION)
    start = time.process_time()
    chosen = [chooser.place(SegmentId(i), PROTECTION) for i in range(100)]
    assert time.process_time() - start < 1.0
    assert {most_in_a_domain(bricks, there) for bricks in chosen} == {1}


def test_lost_node_is_repaired_by_all_others() -> None:
    """A thousand repairs go to a thousand bricks of several hundred nodes, none on a node that has a shard already."""
    there = weighed(cluster(), dict.fromkeys(range(1, IN_NODE + 1), 0.0))
    plan = plan_repairs(beheaded(spread_over(1000)), there, BOUND)
    assert {most_in_a_domain(repair.new, there) for repair in plan.repairs} == {1}
    counts = Counter(brick for repair in plan.repairs for _, brick in repair.mend)
    assert counts.total() == 1000
    assert max(counts.values()) <= 2


@pytest.mark.slow
def test_plans_are_linear_in_the_segments() -> None:
    """Twice the segments cost at most three times the time and memory, in every planner, on 20,000 bricks."""
    there = cluster()
    without_one = weighed(there, dict.fromkeys(NODE_ONE, 0.0))
    few, many = spread_over(2_000), spread_over(4_000)
    works: dict[str, Callable[[list[Segment]], object]] = {
        "repair": lambda segments: plan_repairs(beheaded(segments), without_one, BOUND),
        "balance": lambda segments: plan_balance(segments, holdings(segments), there, BOUND),
        "drain": lambda segments: plan_drain(segments, NODE_ONE, there, BOUND),
        "losses": lambda segments: what_if(segments, NODE_ONE),
    }
    for name, work in works.items():
        once, twice = cost(lambda work=work: work(few)), cost(lambda work=work: work(many))  # type: ignore[misc]
        assert twice[0] <= GROWTH_MAX * once[0] + 0.5, name
        assert twice[1] <= GROWTH_MAX * once[1], name


@pytest.mark.slow
def test_plans_are_linear_in_the_bricks() -> None:
    """Twice the nodes cost at most three times the time, for the same segments."""
    segments = spread_over(1_500, NODES // 2)
    half, whole = cluster(NODES // 2), cluster()
    for name, work in {
        "repair": lambda there: plan_repairs(beheaded(segments), there, BOUND),
        "balance": lambda there: plan_balance(segments, holdings(segments), there, BOUND),
        "drain": lambda there: plan_drain(segments, NODE_ONE, there, BOUND),
        "choice": lambda there: [Chooser(there).place(SegmentId(i), PROTECTION) for i in range(3)],
    }.items():
        once, twice = cost(lambda work=work: work(half)), cost(lambda work=work: work(whole))  # type: ignore[misc]
        assert twice[0] <= GROWTH_MAX * once[0] + 0.5, name
        assert twice[1] <= GROWTH_MAX * once[1], name


@pytest.mark.slow
def test_a_node_is_lost_repaired_and_drained() -> None:
    """The whole round at full size: a lost node leaves all readable, its repair is spread, its drain complete."""
    there, segments = cluster(), spread_over(40_000)
    found = what_if(segments, NODE_ONE)
    assert set(found.fates.values()) == {Fate.DEGRADED}
    damaged = lost_node(segments)
    assert len(damaged) == len(found.fates)
    plan = plan_repairs(damaged, weighed(there, dict.fromkeys(NODE_ONE, 0.0)), BOUND)
    assert len(plan.repairs) == len(damaged)
    nodes = Counter((brick - 1) // IN_NODE for repair in plan.repairs for _, brick in repair.mend)
    assert max(nodes.values()) <= 6
    drained = plan_drain(segments, NODE_ONE, there, BOUND)
    assert drained.left == 0
    assert drained.bytes == drained.least == found.rebuild_bytes
