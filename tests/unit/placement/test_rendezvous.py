from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.errors import BadConfig, NoSpace
from dwd.model.ids import BrickId, SegmentId
from dwd.model.protection import Protection
from dwd.placement.rendezvous import Candidate, Chooser

DOMAINS = st.lists(st.tuples(st.floats(0.1, 10), st.sampled_from("abcde")), min_size=1, max_size=12)


def choose_bricks(segment: SegmentId, candidates: Iterable[Candidate], width: int) -> list[BrickId]:
    """One choice among these bricks."""
    return Chooser(candidates).choose(segment, width)


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


def spread_error(candidates: list[Candidate], segments: int, width: int) -> float:
    """How far the brick that is farthest from its share by weight is off, as a part of that."""
    chooser = Chooser(candidates)
    counts = Counter(brick for s in range(segments) for brick in chooser.choose(SegmentId(s), width))
    rate = segments * width / sum(candidate.weight for candidate in candidates)
    return max(abs(counts[c.brick] / (rate * c.weight) - 1) for c in candidates)


TOPOLOGIES = {
    "equal": [Candidate(BrickId(i), 1.0, str(i)) for i in range(1, 101)],
    "two sizes": [Candidate(BrickId(i), 1.0 + i % 2, str(i)) for i in range(1, 101)],
    "nodes of ten": [Candidate(BrickId(i), 1.0 + i % 2, str(i // 10)) for i in range(100)],
    "nodes of four": [Candidate(BrickId(i), 1.0 + i % 2, str(i // 4)) for i in range(100)],
}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_spread_follows_the_weights(name: str) -> None:
    """At 100 bricks and 4,000 segments no brick is a fifth off; what is left is the luck of so few draws."""
    assert spread_error(TOPOLOGIES[name], 4_000, 6) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width"), [*((name, 6) for name in TOPOLOGIES), ("two sizes", 20), ("nodes of four", 20)]
)
def test_spread_is_within_a_twentieth(name: str, width: int) -> None:
    """At 100 bricks and 100,000 segments every brick is within 5 % of its share."""
    assert spread_error(TOPOLOGIES[name], 100_000, width) < 0.05


@given(specs=DOMAINS, k=st.integers(1, 8), m=st.integers(0, 4), segment=st.integers(0, 1 << 60))
def test_domain_rule_is_held_or_the_segment_refused(
    specs: list[tuple[float, str]], k: int, m: int, segment: int
) -> None:
    """Never more than m shards in a domain; where that cannot be, NoSpace, and it really could not."""
    candidates = [Candidate(BrickId(i), weight, domain) for i, (weight, domain) in enumerate(specs, 1)]
    sizes = Counter(candidate.domain for candidate in candidates)
    protection, chooser = Protection(k, m), Chooser(candidates)
    most = m if m and len(sizes) > 1 else len(candidates)
    fits = sum(min(size, most) for size in sizes.values()) >= protection.width
    assert chooser.holds(protection) == fits
    if not fits:
        with pytest.raises(NoSpace, match=f"{protection.width} shards"):
            chooser.place(SegmentId(segment), protection)
        return
    chosen = chooser.place(SegmentId(segment), protection)
    domain_of = {candidate.brick: candidate.domain for candidate in candidates}
    assert len(set(chosen)) == protection.width
    assert max(Counter(domain_of[brick] for brick in chosen).values()) <= most


@given(specs=DOMAINS, k=st.integers(1, 16), m=st.integers(0, 8))
def test_fitting_mode_can_be_placed(specs: list[tuple[float, str]], k: int, m: int) -> None:
    """The fallback keeps the domain rule too, and a mode that fits is not weakened."""
    chooser = Chooser(Candidate(BrickId(i), weight, domain) for i, (weight, domain) in enumerate(specs, 1))
    wanted = Protection(k, m)
    got = chooser.fitting(wanted)
    assert len(chooser.place(SegmentId(1), got)) == got.width
    assert (got == wanted) == chooser.holds(wanted)
    assert got.m == min(m, chooser.bricks - 1)
    if got.k < wanted.k:
        assert not chooser.holds(Protection(got.k + 1, got.m))


def test_refusal_says_what_there_is() -> None:
    """Two nodes of three bricks cannot hold 4+2 so that one may be lost."""
    two_nodes = Chooser(Candidate(BrickId(i), 1.0, str(i % 2)) for i in range(1, 7))
    with pytest.raises(NoSpace, match=r"6 shards, at most 2 in a failure domain do not fit on 6 bricks in 2 domains"):
        two_nodes.place(SegmentId(1), Protection(4, 2))


def test_no_bricks() -> None:
    """Without a brick nothing is chosen, placed or fitting."""
    empty = Chooser([Candidate(BrickId(1), 0.0, "a")])
    assert empty.choose(SegmentId(1), 6) == []
    with pytest.raises(NoSpace):
        empty.place(SegmentId(1), Protection(1, 0))
    with pytest.raises(BadConfig):
        empty.fitting(Protection(1, 0))


def test_data_shards_are_as_spread_as_parity() -> None:
    """Which of its shards a brick has is even too: nobody holds only parity, which is not read."""
    firsts = Counter(choose_bricks(SegmentId(s), bricks(6), 6)[0] for s in range(3000))
    assert all(420 < firsts[BrickId(i)] < 580 for i in range(1, 7))


def test_new_brick_in_a_big_cluster_moves_only_what_it_wins() -> None:
    """In nodes of many bricks, too: most choices stay, and none loses more than two bricks."""
    before = Chooser(Candidate(BrickId(i), 1.0, str(i // 10)) for i in range(200))
    after = Chooser(Candidate(BrickId(i), 1.0, str(i // 10)) for i in range(201))
    moved = [len(set(before.choose(SegmentId(s), 6)) - set(after.choose(SegmentId(s), 6))) for s in range(1000)]
    assert sum(moved) < 1000 * 6 * 2 / 201
    assert max(moved) <= 2
