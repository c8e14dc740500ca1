import itertools

from hypothesis import given
from hypothesis import strategies as st

from dwd.model.ids import NO_BRICK, BrickId, SegmentId, ShardIndex
from dwd.model.protection import Protection
from dwd.placement.holdings import shard_bytes
from dwd.placement.losses import Fate, Tally, margin, missing_shards, what_if
from tests.unit.placement.cluster import bricks, segment, stored

MIRROR = Protection(1, 1)


def test_fates() -> None:
    """Each segment by what it may still lose; those that miss nothing are not there."""
    segments = [
        segment(1, [1, 2, 3, 4, 5, 6]),
        segment(2, [1, 7, 3, 4, 5, 6], length=1000),
        segment(3, [7, 8], MIRROR),
        segment(4, [1, 2], MIRROR, length=10),
        segment(5, [8], Protection(1, 0)),
        segment(6, [2], Protection(1, 0), length=30),
        segment(7, [1, NO_BRICK, 3, 4, 5, 2], length=50),
    ]
    found = what_if(segments, [BrickId(1), BrickId(2)])
    assert found.fates == {
        1: Fate.ZERO_MARGIN,
        2: Fate.DEGRADED,
        4: Fate.UNREADABLE,
        6: Fate.UNREADABLE,
        7: Fate.UNREADABLE,
    }
    assert found.tallies == {
        Fate.ZERO_MARGIN: Tally(1, 1 << 22),
        Fate.DEGRADED: Tally(1, 1000),
        Fate.UNREADABLE: Tally(3, 90),
    }
    assert found.rebuild_bytes == 2 * shard_bytes(segments[0]) + shard_bytes(segments[1])
    assert found.seconds_at(found.rebuild_bytes / 10) == 10


def test_nothing_lost() -> None:
    """A whole volume has no fates."""
    found = what_if(stored(20, bricks(8)), [])
    assert found.fates == {}
    assert set(found.tallies.values()) == {Tally()}


def test_bad_shards_count_once() -> None:
    """A shard that is damaged already, on a brick that goes too, is one loss."""
    one = segment(1, [1, 2, 3, 4, 5, 6])
    bad = {SegmentId(1): [ShardIndex(0), ShardIndex(3)]}
    assert what_if([one], [BrickId(1)], bad).fates == {1: Fate.ZERO_MARGIN}
    assert what_if([one], [BrickId(2)], bad).fates == {1: Fate.UNREADABLE}
    assert missing_shards(one, {BrickId(1)}, bad[SegmentId(1)]) == {0, 3}


@given(st.sampled_from([(1, 2), (2, 1), (4, 2)]), st.integers(0, 1000))
def test_any_m_bricks_may_go(profile: tuple[int, int], number: int) -> None:
    """Over all losses of m bricks nothing is unreadable, and with one more of its bricks a segment is."""
    protection = Protection(*profile)
    (one,) = stored(1, bricks(8), protection)
    for lost in itertools.combinations(range(1, 9), protection.m):
        assert Fate.UNREADABLE not in what_if([one], [BrickId(i) for i in lost]).fates.values()
    assert margin(one, missing_shards(one, one.bricks[: protection.m + 1])) == -1
