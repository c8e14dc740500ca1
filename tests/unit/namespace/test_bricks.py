"""Bricks as all nodes know them: registered, changed, entombed; and where a segment's shards are."""

import errno

import pytest

from dwd.model.ids import NO_BRICK, BrickId, NodeId, SegmentId
from dwd.model.segment import Segment
from dwd.model.topology import Standing
from dwd.namespace.commands import NoteScrub, PutBrick, Rehouse, SetAttributes
from tests.unit.namespace.volume import MIRROR, Volume

ONE, TWO, THREE = BrickId(1), BrickId(2), BrickId(3)


def put(number: int, standing: Standing = Standing.ACTIVE, weight: float = 1.0, note: str = "") -> PutBrick:
    """A brick of node 1."""
    return PutBrick(BrickId(number), bytes([number % 256]) * 16, NodeId(1), weight, standing, f"node {number}", note)


def test_bricks_are_registered(volume: Volume) -> None:
    """Each has its record, in the order of ids, and says since when it stands as it does."""
    volume.do(put(2))
    volume.do(put(1, weight=0.5))
    registered = volume.now
    assert [brick.id for brick in volume.state.bricks()] == [1, 2]
    volume.do(put(1, weight=2.0, note="heavier"))
    brick = volume.state.find_brick(ONE)
    assert brick is not None
    assert (brick.weight, brick.note, brick.node, brick.domain, brick.uuid) == (2.0, "heavier", 1, "node 1", b"\1" * 16)
    assert brick.since == registered
    volume.do(put(1, Standing.DRAINING))
    brick = volume.state.find_brick(ONE)
    assert brick is not None
    assert (brick.standing, brick.since) == (Standing.DRAINING, volume.now)
    assert volume.state.find_brick(THREE) is None


def test_removed_brick_stays_removed(volume: Volume) -> None:
    """Its id is never used again: the record is a tombstone, and no command changes it."""
    volume.do(put(1))
    volume.do(put(1, Standing.REMOVED))
    for standing in Standing:
        assert volume.refused(put(1, standing)) == errno.EEXIST


@pytest.mark.parametrize("bad", [put(0), put(-1), put(1, weight=-1.0), put(1, weight=float("nan"))])
def test_what_is_no_brick(volume: Volume, bad: PutBrick) -> None:
    """Ids begin at 1, weights at 0."""
    assert volume.refused(bad) == errno.EINVAL


def mirrored(volume: Volume) -> Segment:
    """A segment with shards on bricks 1 and 2."""
    volume.do(put(1))
    volume.do(put(2))
    volume.do(put(3))
    file = volume.make(b"file").number
    segment = volume.segment(b"bytes", MIRROR)
    volume.store_whole(file, segment)
    found = volume.state.find_segment(segment.id)
    assert found is not None
    return found


def test_rehouse(volume: Volume) -> None:
    """A segment's shards are where a repair has put them; nothing else of it changes."""
    segment = mirrored(volume)
    for old, new in (((ONE, TWO), (ONE, THREE)), ((ONE, THREE), (NO_BRICK, NO_BRICK)), ((NO_BRICK,) * 2, (TWO, ONE))):
        volume.do(Rehouse(segment.id, old, new))
        found = volume.state.find_segment(segment.id)
        assert found is not None
        assert (found.bricks, found.live, found.digest) == (new, segment.live, segment.digest)


def test_rehouse_that_comes_too_late(volume: Volume) -> None:
    """Another was faster, or nothing lives in it any more: refused, so that the shard that was made can go."""
    segment = mirrored(volume)
    assert volume.refused(Rehouse(segment.id, (ONE, THREE), (TWO, THREE))) == errno.ESTALE
    assert volume.refused(Rehouse(SegmentId(5), (ONE, TWO), (TWO, THREE))) == errno.ENOENT
    found = volume.find(b"file")
    assert found is not None
    volume.do(SetAttributes(found.number, size=0))
    assert volume.refused(Rehouse(segment.id, (ONE, TWO), (TWO, THREE))) == errno.ENOENT


@pytest.mark.parametrize("new", [(ONE,), (ONE, ONE), (ONE, TWO, THREE), ()])
def test_rehouse_to_where_it_cannot_be(volume: Volume, new: tuple[BrickId, ...]) -> None:
    """Every shard has a brick, and no brick has two."""
    assert volume.refused(Rehouse(mirrored(volume).id, (ONE, TWO), new)) == errno.EINVAL


def test_scrub(volume: Volume) -> None:
    """The last word on it is kept."""
    assert volume.state.scrub() is None
    volume.do(NoteScrub(1, SegmentId(2), 0, 3, 4, 5))
    volume.do(NoteScrub(1, SegmentId(9), 7, 30, 40, 5))
    found = volume.state.scrub()
    assert found is not None
    assert (found.started, found.cursor, found.finished, found.segments, found.bytes, found.damaged) == (
        1,
        9,
        7,
        30,
        40,
        5,
    )
