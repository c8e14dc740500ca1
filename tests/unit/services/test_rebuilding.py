"""The quick way of rebuilding, and what makes it leave the work to the long one."""

import random
import threading
from pathlib import Path

import pytest
import trio

from dwd.model.errors import BrickFault, CorruptShard
from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.model.limits import BLOCK_BYTES
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.services import rebuilding
from dwd.services.rebuild_batch import Rebuild, Scratches
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


async def rebuild(segments: Segments, segment: Segment, targets: dict[ShardIndex, BrickId]) -> None:
    """As Rehousing does it: in company, and what that leaves undone alone."""
    wanted = Rebuild(segment, targets)
    if await segments.rebuild_quickly([wanted]) != [True]:
        await segments.rebuild(wanted)


def body(made: dict[int, FaultyBrick], number: int, index: int) -> bytes | None:
    """A shard as a brick has it."""
    return made[number].read(SegmentId(9), ShardIndex(index), 0, 100, wait=True)


async def test_all_that_is_well_is_done_in_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild from sound bricks never takes the long way."""
    segments, made, segment, told = await plant(tmp_path)
    monkeypatch.delattr(rebuilding.Rebuilder, "_make")
    wanted = body(made, segment.bricks[0], 0)
    made[segment.bricks[0]].remove_shard(segment.id, ShardIndex(0))
    await rebuild(segments, segment, {ShardIndex(0): segment.bricks[0]})
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
    await rebuild(segments, segment, {ShardIndex(0): made[spare].id})
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
    await rebuild(segments, segment, {ShardIndex(5): made[spare].id})
    gate.set()
    assert body(made, spare, 5) == wanted


async def test_what_lies_at_the_target_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged shard is removed and written in one go; a brick that will not remove it fails the rebuild."""
    segments, made, segment, _ = await plant(tmp_path)
    brick = made[segment.bricks[3]]
    path = tmp_path / str(brick.id) / "shards" / "09" / f"{9:016x}.3"
    sound = path.read_bytes()
    path.write_bytes(b"rot")
    await rebuild(segments, segment, {ShardIndex(3): brick.id})
    assert path.read_bytes() == sound

    def refuse(*_: object) -> None:
        raise BrickFault("read-only")

    monkeypatch.setattr(brick, "remove_shard", refuse)
    with pytest.raises(BrickFault, match="read-only"):
        await rebuild(segments, segment, {ShardIndex(3): brick.id})


async def several(root: Path) -> tuple[Segments, dict[int, FaultyBrick], list[Segment]]:
    """Three segments that have all lost their first shard."""
    segments, made, first, _ = await plant(root)
    stored = [first]
    for number in (10, 11):
        buffer = new_buffer(LENGTH)
        buffer[:LENGTH] = random.Random(number).randbytes(LENGTH)
        stored.append(await segments.write(SegmentId(number), buffer, LENGTH))
    for segment in stored:
        made[segment.bricks[0]].remove_shard(segment.id, ShardIndex(0))
    return segments, made, stored


def in_place(segment: Segment) -> Rebuild:
    """Its first shard, where it was."""
    return Rebuild(segment, {ShardIndex(0): segment.bricks[0]})


async def test_one_that_is_damaged_keeps_no_other_from_its_rebuild(tmp_path: Path) -> None:
    """What is unusual about one segment of a batch leaves that one undone, with nothing of it on the bricks."""
    segments, made, stored = await several(tmp_path)
    rotten = stored[1]
    for index in (1, 2, 3, 4, 5):
        path = tmp_path / str(rotten.bricks[index]) / "shards" / "0a" / f"{rotten.id:016x}.{index}"
        path.write_bytes(path.read_bytes()[:-1])
    assert await segments.rebuild_quickly([in_place(segment) for segment in stored]) == [True, False, True]
    assert (rotten.id, ShardIndex(0)) not in set(made[rotten.bricks[0]].list_shards())
    assert await segments.verify(stored[0]) == await segments.verify(stored[2]) == []
    assert segments.counters.shards_rebuilt == 2
    assert not segments.rebuilding


async def test_brick_that_hangs_in_a_batch_costs_its_patience_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not begun stays undone; a write that hangs takes its file back, and until then holds its brick up."""
    monkeypatch.setattr(rebuilding, "_QUICK_S_MAX", 2.0)
    segments, made, stored = await several(tmp_path)
    slow = stored[1].bricks[0]
    gate = made[slow].write_gate = threading.Event()
    before = shards_of(made, slow)
    done = await segments.rebuild_quickly([in_place(segment) for segment in stored])
    assert done == [stored[0].bricks[0] != slow, False, False]
    assert segments.brick_set.is_late(slow)
    gate.set()
    with trio.fail_after(20):
        while segments.brick_set.is_late(slow):  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.01)
    assert shards_of(made, slow) == before


def shards_of(made: dict[int, FaultyBrick], number: BrickId) -> set[tuple[SegmentId, ShardIndex]]:
    """What lies on a brick."""
    return set(made[number].list_shards())


def test_memory_to_work_in_is_used_again() -> None:
    """What was given back is taken next, if it is long enough; two never have the same."""
    scratches = Scratches()
    first, second = scratches.take(100), scratches.take(100)
    assert first.obj is not second.obj
    scratches.give_back(first)
    assert scratches.take(50).obj is first.obj
    scratches.give_back(first)
    assert len(scratches.take(200)) == 200
    for _ in range(100):
        scratches.give_back(memoryview(bytearray(1)))
    assert len(scratches) <= 4
