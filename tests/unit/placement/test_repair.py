from collections import Counter
from collections.abc import Iterable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwd.model.ids import NO_BRICK, BrickId, ShardIndex
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.placement.holdings import shard_bytes
from dwd.placement.rendezvous import Candidate
from dwd.placement.repair import Damaged, Reencoding, plan_repairs
from tests.unit.placement.cluster import FOUR_TWO, bricks, most_in_a_domain, segment, stored, weighed

MIRROR = Protection(1, 1)


def bad(*indices: int) -> frozenset[ShardIndex]:
    """Shards."""
    return frozenset(map(ShardIndex, indices))


def without(segments: Iterable[Segment], lost: int) -> list[Damaged]:
    """What misses a shard when a brick is gone."""
    return [
        Damaged(one, bad(*(i for i, brick in enumerate(one.bricks) if brick == lost)))
        for one in segments
        if lost in one.bricks
    ]


def test_worst_protected_come_first() -> None:
    """Whatever the order and the mode: by the shards that may still be lost; fallback modes last."""
    nine = bricks(9)
    damaged = [
        Damaged(segment(1, [1, 2], MIRROR, wanted=FOUR_TWO), bad()),
        Damaged(segment(2, [1, 2, 3, 4, 5, 6]), bad(0)),
        Damaged(segment(3, [1, 2, 3, 4, 5, 6]), bad(1, 3)),
        Damaged(segment(4, [1, 2], MIRROR), bad(0)),
        Damaged(segment(5, [1, 2, 3], Protection(1, 2)), bad(2)),
    ]
    plan = plan_repairs(damaged, nine, bound=10)
    assert [(repair.segment.id, repair.margin) for repair in plan.repairs] == [(3, 0), (4, 0), (2, 1), (5, 1)]
    assert plan.reencodings == (Reencoding(damaged[0].segment, FOUR_TWO),)
    assert (plan.lost, plan.waiting, plan.left_out) == (0, 0, 0)


def test_plan_is_bounded_and_keeps_the_worst() -> None:
    """Of a thousand the ten that are worst off, and the count of the others."""
    damaged = [Damaged(segment(i, [1, 2, 3, 4, 5, 6]), bad(0)) for i in range(1, 1000)]
    damaged += [Damaged(segment(2000 + i, [1, 2, 3, 4, 5, 6]), bad(0, 1)) for i in range(4)]
    plan = plan_repairs(damaged, bricks(8), bound=10)
    assert [repair.segment.id for repair in plan.repairs[:5]] == [2000, 2001, 2002, 2003, 1]
    assert (len(plan.repairs), plan.left_out) == (10, 993)


def test_lost_segments_are_counted_and_not_planned() -> None:
    """With fewer than k shards there is nothing to compute from."""
    plan = plan_repairs([Damaged(segment(1, [1, 2, 3, 4, 5, 6]), bad(0, 1, 2))], bricks(9), bound=5)
    assert (plan.repairs, plan.lost) == ((), 1)


def test_damage_on_a_sound_brick_is_mended_in_place() -> None:
    """Bit rot moves nothing; a shard of a brick that takes nothing goes elsewhere, and so does one never placed."""
    nine = weighed(bricks(9), {2: 0.0})
    (repair,) = plan_repairs(
        [Damaged(segment(1, [1, 2, NO_BRICK, 4, 5, 6], Protection(3, 3)), bad(0, 1, 2))], nine, 5
    ).repairs
    targets = dict(repair.mend)
    assert targets[ShardIndex(0)] == 1
    assert {targets[ShardIndex(1)], targets[ShardIndex(2)]} < {3, 7, 8, 9}
    assert repair.new == (1, targets[ShardIndex(1)], targets[ShardIndex(2)], 4, 5, 6)
    assert repair.bytes == 3 * shard_bytes(repair.segment)


def test_nowhere_to_go_is_said_and_holds_nobody_up() -> None:
    """A shard without a brick waits; segments that can be helped are helped although others are worse off."""
    damaged = [Damaged(segment(i, [1, 2, 3, 4, 5, 6]), bad(0, 1)) for i in range(1, 9)]
    damaged.append(Damaged(segment(9, [1, 2, 3, 4, 5, 6]), bad(3)))
    six = weighed(bricks(6), {1: 0.0, 2: 0.0})
    plan = plan_repairs(damaged, six, bound=3)
    assert [repair.segment.id for repair in plan.repairs] == [9]
    assert (plan.waiting, plan.left_out) == (16, 0)


def test_half_a_repair_is_better_than_none() -> None:
    """With one free brick for two lost shards, one is mended and the other waits."""
    seven = weighed(bricks(7), {1: 0.0, 2: 0.0})
    plan = plan_repairs([Damaged(segment(1, [1, 2, 3, 4, 5, 6]), bad(0, 1))], seven, bound=3)
    assert [repair.mend for repair in plan.repairs] == [((0, 7),)]
    assert plan.repairs[0].new == (7, 2, 3, 4, 5, 6)
    assert plan.waiting == 1


def test_fallback_is_left_when_its_mode_fits_or_a_stronger_one() -> None:
    """2+2 for want of bricks becomes 3+2 with a fifth; on four bricks it stays."""
    at_fallback = Damaged(segment(1, [1, 2, 3, 4], Protection(2, 2), wanted=FOUR_TWO), bad())
    assert plan_repairs([at_fallback], bricks(4), 5).reencodings == ()
    assert plan_repairs([at_fallback], bricks(5), 5).reencodings[0].protection == Protection(3, 2)
    assert plan_repairs([at_fallback], [], 5).reencodings == ()


@pytest.mark.parametrize("count", [8, 30, 100])
def test_load_of_a_lost_brick_is_spread_over_all_others(count: int) -> None:
    """Every other brick takes part, and none takes a quarter, or two shards, more or less than its part."""
    there = bricks(count)
    damaged = without(stored(60 * count, there), lost=1)
    plan = plan_repairs(damaged, weighed(there, {1: 0.0}), bound=1 << 20)
    taken = Counter(brick for repair in plan.repairs for _, brick in repair.mend)
    part = len(damaged) / (count - 1)
    assert len(plan.repairs) == len(damaged)
    assert set(taken) == {BrickId(i) for i in range(2, count + 1)}
    assert max(abs(taken[brick] - part) for brick in taken) <= max(2, part / 4)


def test_heavier_bricks_take_more() -> None:
    """Twice the weight, twice the shards of a lost brick."""
    there = weighed(bricks(12), {12: 2.0})
    damaged = without(stored(600, bricks(11)), lost=1)
    plan = plan_repairs(damaged, weighed(there, {1: 0.0}), bound=1 << 20)
    taken = Counter(brick for repair in plan.repairs for _, brick in repair.mend)
    others = [taken[BrickId(i)] for i in range(2, 12)]
    assert 1.8 < taken[BrickId(12)] / (sum(others) / len(others)) < 2.2


@given(
    domains=st.integers(2, 8),
    in_domain=st.integers(1, 4),
    profile=st.sampled_from([(1, 1), (1, 2), (2, 2), (4, 2), (6, 3)]),
    lost=st.sets(st.integers(1, 32), max_size=3),
)
def test_domain_rule_is_kept(domains: int, in_domain: int, profile: tuple[int, int], lost: set[int]) -> None:
    """After a repair no domain has more than m shards of a segment, and no brick two."""
    protection = Protection(*profile)
    there = bricks(domains * in_domain, in_domain=in_domain)
    if domains * min(in_domain, protection.m) < protection.width:
        return
    left = [attrs.evolve(one, weight=0.0 if one.brick in lost else 1.0) for one in there]
    damaged = [
        Damaged(one, bad(*(i for i, brick in enumerate(one.bricks) if brick in lost)))
        for one in stored(12, there, protection)
    ]
    for repair in plan_repairs(damaged, left, bound=100).repairs:
        after = [new for i, new in enumerate(repair.new) if new not in lost]
        assert len(after) == len(set(after))
        assert most_in_a_domain(after, there) <= protection.m


def test_copies_stay_apart_where_they_can() -> None:
    """Three copies on four nodes are repaired to three nodes, though two on one would be allowed."""
    there = bricks(12, in_domain=3)
    damaged = without(stored(200, there, Protection(1, 2)), lost=1)
    plan = plan_repairs(damaged, weighed(there, {1: 0.0}), bound=1000)
    assert len(plan.repairs) == len(damaged) > 30
    assert {most_in_a_domain(repair.new, there) for repair in plan.repairs} == {1}


def test_unknown_bricks_are_domains_of_their_own() -> None:
    """A brick that nobody lists any more does not stop a repair."""
    (repair,) = plan_repairs(
        [Damaged(segment(1, [77, 2, 3, 4, 5, 6]), bad(1))], [Candidate(BrickId(9), 1.0, "x")], 5
    ).repairs
    assert repair.mend == ((1, 9),)


def test_light_bricks_are_found_beside_a_heavy_one() -> None:
    """Where nearly all the weight is on a brick that has a shard already, drawing fails, and another is found."""
    there = weighed(bricks(40, weight=1e-9), {1: 1.0})
    plan = plan_repairs([Damaged(segment(i, [NO_BRICK, 1, 2, 3, 4, 5]), bad(0)) for i in range(1, 9)], there, 10)
    assert (len(plan.repairs), plan.waiting) == (8, 0)
    assert all(repair.new[0] > 5 for repair in plan.repairs)
