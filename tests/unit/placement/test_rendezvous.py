from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.ids import BrickId, SegmentId
from dwd.placement.rendezvous import Candidate, choose_bricks

DOMAINS = st.lists(st.tuples(st.floats(0.1, 10), st.sampled_from("abcde")), min_size=1, max_size=12)


def bricks(count: int, weight: float = 1.0) -> list[Candidate]:
    """Equal bricks, each a domain of its own."""
    return [Candidate(BrickId(i), weight, str(i)) for i in range(1, count + 1)]


def test_choice_has_not_changed() -> None:
    """The hash is frozen: after an update of the program, rebalancing has nothing to do."""
    assert [choose_bricks(SegmentId(segment), bricks(8), 6) for segment in range(3)] == [
        [4, 5, 3, 7, 8, 2],
        [7, 5, 8, 3, 1, 6],
        [4, 1, 6, 3, 2, 7],
    ]


@settings(derandomize=True, deadline=None)
@given(specs=DOMAINS, width=st.integers(0, 14), segment=st.integers(0, 1 << 63), data=st.data())
def test_choice_is_distinct_and_independent_of_order(
    specs: list[tuple[float, str]], width: int, segment: int, data: st.DataObject
) -> None:
    """As many distinct bricks as asked for or there are, whatever the order of the candidates."""
    candidates = [Candidate(BrickId(i), weight, domain) for i, (weight, domain) in enumerate(specs, 1)]
    chosen = choose_bricks(SegmentId(segment), candidates, width)
    assert len(chosen) == len(set(chosen)) == min(width, len(candidates))
    assert choose_bricks(SegmentId(segment), data.draw(st.permutations(candidates)), width) == chosen


@settings(derandomize=True, deadline=None)
@given(specs=DOMAINS, width=st.integers(1, 12), segment=st.integers(0, 1 << 63))
def test_one_failure_takes_as_little_as_possible(specs: list[tuple[float, str]], width: int, segment: int) -> None:
    """A domain has one shard more than another only if the other has no brick left."""
    candidates = [Candidate(BrickId(i), weight, domain) for i, (weight, domain) in enumerate(specs, 1)]
    domain_of = {candidate.brick: candidate.domain for candidate in candidates}
    held = Counter(domain_of[brick] for brick in choose_bricks(SegmentId(segment), candidates, width))
    there = Counter(domain_of.values())
    most = max(held.values())
    assert all(held[domain] >= most - 1 or held[domain] == there[domain] for domain in there)


def test_shares_follow_the_weights() -> None:
    """A brick of double weight gets double the shards."""
    candidates = [*bricks(8), Candidate(BrickId(9), 2.0, "9")]
    counts = Counter(choose_bricks(SegmentId(s), candidates, 1)[0] for s in range(4000))
    assert 700 < counts[BrickId(9)] < 900
    assert all(340 < counts[BrickId(i)] < 460 for i in range(1, 9))


def test_new_brick_moves_only_what_it_wins() -> None:
    """With a ninth brick each choice stays, or swaps one brick for the new one."""
    moved = 0
    for segment in range(300):
        before = set(choose_bricks(SegmentId(segment), bricks(8), 6))
        after = set(choose_bricks(SegmentId(segment), bricks(9), 6))
        assert after == before or (after - before == {BrickId(9)} and len(before - after) == 1)
        moved += after != before
    assert 160 < moved < 240


def test_brick_without_weight_is_never_chosen() -> None:
    """Weight 0 drains a brick."""
    candidates = [*bricks(3), Candidate(BrickId(4), 0.0, "4")]
    assert set(choose_bricks(SegmentId(1), candidates, 4)) == {1, 2, 3}
