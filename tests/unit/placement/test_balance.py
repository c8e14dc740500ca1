from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.ids import NO_BRICK, BrickId
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.placement.balance import MovePlan, _fair_bytes, drain_shortfall, plan_balance, plan_drain
from dwd.placement.holdings import holdings, shard_bytes
from dwd.placement.rendezvous import Candidate
from tests.unit.placement.cluster import FOUR_TWO, bricks, most_in_a_domain, segment, shards_by_brick, stored, weighed

BOUND = 1 << 20


def moved(segments: Sequence[Segment], plan: MovePlan) -> list[Segment]:
    """The segments after a plan."""
    new = {move.segment.id: move.new for move in plan.moves}
    return [
        Segment(s.changed, s.id, s.protection, s.length, s.live, new.get(s.id, s.bricks), s.digest) for s in segments
    ]


def balance(segments: Sequence[Segment], there: Sequence[Candidate], bound: int = BOUND) -> MovePlan:
    """A plan from the records."""
    return plan_balance(segments, holdings(segments), there, bound)


def test_new_brick_gets_its_share_and_no_byte_more_moves() -> None:
    """A seventh brick under 4+2 on six: its 6/7 of a shard of each segment moves, and nothing else."""
    segments, there = stored(700, bricks(6)), bricks(7)
    plan = balance(segments, there)
    size = shard_bytes(segments[0])
    assert plan.bytes == pytest.approx(600 * size, rel=0.02)
    assert plan.bytes <= plan.least
    assert all([new for _, _, new in move.shards] == [7] for move in plan.moves)
    counts = shards_by_brick(moved(segments, plan))
    assert all(abs(counts[BrickId(i)] - 600) <= 2 for i in range(1, 8))


def test_balanced_bricks_stay_as_they_are() -> None:
    """When there is nothing to gain, nothing moves: a plan after a plan is nearly empty."""
    segments, there = stored(500, bricks(6)), bricks(9)
    after = moved(segments, balance(segments, there))
    again = balance(after, there)
    assert again.bytes <= 9 * shard_bytes(segments[0])


@pytest.mark.parametrize("weights", [{8: 3.0}, {1: 0.5}, {2: 2.0, 3: 0.25, 9: 1.5}])
def test_weights_are_reached_with_least_movement(weights: dict[int, float]) -> None:
    """After a change of weights the plan moves no more than the least, and nine tenths of that.

    The last of these is hard: a brick that is to have a shard of nearly every segment finds few that can give it one.
    """
    segments, there = stored(800, bricks(12)), weighed(bricks(12), weights)
    plan = balance(segments, there)
    assert 0 < plan.bytes <= plan.least
    assert plan.left <= plan.least / 10


def test_heavy_brick_cannot_have_two_shards_of_a_segment() -> None:
    """A brick of a hundred times the weight gets one shard of each segment, and the others share the rest."""
    segments, there = stored(400, bricks(12)), weighed(bricks(12), {5: 100.0})
    counts = shards_by_brick(moved(segments, balance(segments, there)))
    assert 395 <= counts[BrickId(5)] <= 400
    assert max(counts[BrickId(i)] for i in range(6, 13)) - min(counts[BrickId(i)] for i in range(6, 13)) <= 2


def test_plan_is_bounded_and_plans_in_turn_arrive() -> None:
    """Of few segments each, performed one after the other: the sum is within 1.2 times the least of the first."""
    segments, there = stored(300, bricks(6)), bricks(8)
    least, total, plans = balance(segments, there).least, 0, 0
    while (plan := balance(segments, there, bound=20)).moves:
        assert len(plan.moves) <= 20
        assert plan.left == plan.least - plan.bytes
        segments, total, plans = moved(segments, plan), total + plan.bytes, plans + 1
    assert plans > 10
    assert total <= 1.2 * least
    counts = shards_by_brick(segments)
    assert max(counts.values()) - min(counts.values()) <= 4


def test_bricks_that_take_nothing_are_left_out() -> None:
    """A brick of weight 0 neither gives nor takes, and an empty volume has nothing to move."""
    segments = stored(200, bricks(6))
    plan = balance(segments, [*weighed(bricks(6), {2: 0.0}), Candidate(BrickId(7), 0.0, "7")])
    assert plan.moves == ()
    assert balance([], bricks(7)) == MovePlan((), 0, 0, 0)


@settings(max_examples=60)
@given(
    nodes=st.integers(2, 6),
    in_node=st.integers(1, 3),
    more=st.integers(1, 4),
    profile=st.sampled_from([(1, 1), (1, 2), (2, 2), (4, 2)]),
    weights=st.lists(st.floats(0.25, 4), min_size=22, max_size=22),
)
def test_moves_keep_the_domain_rule_and_the_least(
    nodes: int, in_node: int, more: int, profile: tuple[int, int], weights: list[float]
) -> None:
    """Whatever is added at whatever weight: the rule is kept, no brick gets two, and no plan exceeds the least."""
    protection = Protection(*profile)
    if nodes * min(in_node, protection.m) < protection.width:
        return
    segments = stored(40, bricks(nodes * in_node, in_domain=in_node), protection)
    there = [
        attrs.evolve(one, weight=weights[at])
        for at, one in enumerate(bricks(nodes * in_node + more, in_domain=in_node))
    ]
    plan = balance(segments, there)
    assert plan.bytes <= plan.least
    for move in plan.moves:
        assert len(set(move.new)) == protection.width
        assert most_in_a_domain(move.new, there) <= protection.m
    fair, before = _fair_bytes(there, holdings(segments)), holdings(segments).by_brick
    after = holdings(moved(segments, plan)).by_brick
    assert all(after.get(brick, 0) <= max(share, before.get(brick, 0)) for brick, share in fair.items())


def test_drain_moves_all_of_a_brick_and_nothing_else() -> None:
    """Each shard of it, to all the others; a shard that was never placed stays so."""
    segments = [*stored(300, bricks(9)), segment(1000, [3, NO_BRICK, 5, 6, 7, 8])]
    plan = plan_drain(segments, {BrickId(3)}, bricks(9), BOUND)
    assert plan.bytes == plan.least == holdings(segments).by_brick[BrickId(3)]
    assert plan.left == 0
    after = moved(segments, plan)
    counts = shards_by_brick(after)
    assert counts[BrickId(3)] == 0
    assert counts[NO_BRICK] == 1
    assert all(source == 3 for move in plan.moves for _, source, _ in move.shards)
    assert max(counts[b.brick] for b in bricks(9)) < 1.3 * 6 * 301 / 8


def test_drain_is_bounded() -> None:
    """The rest is left for the next plan, and counted."""
    segments = stored(100, bricks(8))
    plan = plan_drain(segments, {BrickId(1), BrickId(2)}, bricks(8), 10)
    assert len(plan.moves) == 10
    assert plan.left == plan.least - plan.bytes > 0
    assert plan.least == sum(holdings(segments).by_brick[BrickId(i)] for i in (1, 2))


def test_drain_of_what_is_needed_moves_nothing() -> None:
    """Six bricks for six shards: nobody may take them, and all is left."""
    segments = stored(10, bricks(6))
    plan = plan_drain(segments, {BrickId(1)}, bricks(6), BOUND)
    assert (plan.moves, plan.left) == ((), plan.least)
    assert plan.least > 0


def test_refusal_names_what_would_fall_below_its_protection() -> None:
    """Counts, bytes, examples and the reason; segments elsewhere, and modes that still fit, are none of it."""
    segments = [*stored(40, bricks(6)), *(segment(100 + i, [1, 2], Protection(1, 1)) for i in range(5))]
    found = drain_shortfall(segments, {BrickId(1)}, bricks(6))
    assert found is not None
    assert (found.segments, found.bytes, len(found.examples)) == (40, 40 << 22, 16)
    assert "5 bricks in 5 failure domains would be left, too few for 40 segments (40 at 4+2)" in found.reason


def test_last_safe_node_is_not_given_up() -> None:
    """Bricks enough, but too few nodes for the rule: refused."""
    there = bricks(12, in_domain=4)
    segments = stored(20, there, FOUR_TWO)
    assert drain_shortfall(segments, {BrickId(1)}, there) is None
    found = drain_shortfall(segments, {BrickId(i) for i in range(1, 5)}, there)
    assert found is not None
    assert "8 bricks in 2 failure domains" in found.reason


def test_empty_brick_may_go() -> None:
    """What holds nothing can always be emptied, also the last one."""
    assert drain_shortfall([segment(1, [1, 2, 3, 4, 5, 6])], {BrickId(7)}, bricks(1)) is None
