"""The quick way of rebuilding, and what makes it leave the work to the long one."""

import random
import threading
from pathlib import Path

import pytest

from dwd.model.errors import BrickFault, CorruptShard
from dwd.model.ids import SegmentId, ShardIndex
from dwd.model.limits import BLOCK_BYTES
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.services import rebuilding
from dwd.services.segments import Segments, new_buffer
from tests.unit.services.bricks import VOLUME, FaultyBrick, make

LENGTH = 4 * (2 * BLOCK_BYTES + 640) - 7


async def plant(root: Path) -> tuple[Segments, dict[int, FaultyBrick], Segment, list[tuple[SegmentId, ShardIndex]]]:
    """A segment on six bricks of seven, and where damage is told."""
    bricks, made = make(root, 7)
    segments = Segments(VOLUME, bricks, Protection(4, 2))
    told: list[tuple[SegmentId, ShardIndex]] = []
    segments.on_damage = lambda *shard: told.append(shard)
    buffer = new_buffer(LENGTH)
    buffer[:LENGTH] = random.Random(1).randbytes(LENGTH)
    return segments, made, await segments.write(SegmentId(9), buffer, LENGTH), told


def body(made: dict[int, FaultyBrick], number: int, index: int) -> bytes | None:
    """A shard as a brick has it."""
    return made[number].read(SegmentId(9), ShardIndex(index), 0, 100, wait=True)


async def test_all_that_is_well_is_done_in_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild from sound bricks never takes the long way."""
    segments, made, segment, told = await plant(tmp_path)
    monkeypatch.delattr(rebuilding.Rebuilder, "_make")
    wanted = body(made, segment.bricks[0], 0)
    made[segment.bricks[0]].remove_shard(segment.id, ShardIndex(0))
    await segments.rebuild(segment, [ShardIndex(0)], {ShardIndex(0): segment.bricks[0]})
    assert body(made, segment.bricks[0], 0) == wanted
    assert segments.counters.reconstructed == segments.counters.shards_rebuilt == 1
    assert not told


async def test_damaged_source_is_told_and_passed_by(tmp_path: Path) -> None:
    """A source that is rotten costs the quick way only: another takes its place, and the healer hears of it."""
    segments, made, segment, told = await plant(tmp_path)
    (spare,) = set(made) - set(segment.bricks)
    wanted = body(made, segment.bricks[0], 0)
    made[segment.bricks[0]].remove_shard(segment.id, ShardIndex(0))
    made[segment.bricks[2]].read_failure = CorruptShard("rot")
    await segments.rebuild(segment, [ShardIndex(0)], {ShardIndex(0): made[spare].id})
    assert body(made, spare, 0) == wanted
    assert (segment.id, ShardIndex(2)) in told


async def test_source_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not answer holds a rebuild up for its patience, and others are asked."""
    monkeypatch.setattr(rebuilding, "_QUICK_S_MAX", 0.02)
    segments, made, segment, _ = await plant(tmp_path)
    (spare,) = set(made) - set(segment.bricks)
    wanted = body(made, segment.bricks[5], 5)
    gate = made[segment.bricks[1]].read_gate = threading.Event()
    made[segment.bricks[5]].remove_shard(segment.id, ShardIndex(5))
    await segments.rebuild(segment, [ShardIndex(5)], {ShardIndex(5): made[spare].id})
    gate.set()
    assert body(made, spare, 5) == wanted


async def test_what_lies_at_the_target_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged shard is removed and written in one go; a brick that will not remove it fails the rebuild."""
    segments, made, segment, _ = await plant(tmp_path)
    brick = made[segment.bricks[3]]
    path = tmp_path / str(brick.id) / "shards" / "09" / f"{9:016x}.3"
    sound = path.read_bytes()
    path.write_bytes(b"rot")
    await segments.rebuild(segment, [ShardIndex(3)], {ShardIndex(3): brick.id})
    assert path.read_bytes() == sound

    def refuse(*_: object) -> None:
        raise BrickFault("read-only")

    monkeypatch.setattr(brick, "remove_shard", refuse)
    with pytest.raises(BrickFault, match="read-only"):
        await segments.rebuild(segment, [ShardIndex(3)], {ShardIndex(3): brick.id})
