import itertools
import os
import random
import shutil
import threading
from pathlib import Path

import pytest
import trio

from dwd.codec.shard_header import HEADER_BYTES
from dwd.model.errors import BrickFault, CorruptShard, NoSpace, SegmentLost
from dwd.model.ids import NO_BRICK, BrickId, SegmentId, ShardIndex
from dwd.model.limits import BLOCK_BYTES
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.services import hedging, rebuilding, segment_reading, segment_writing
from dwd.services.bricks import Bricks
from dwd.services.rebuild_batch import Rebuild
from dwd.services.segments import Segments, new_buffer
from tests.unit.services.bricks import VOLUME, FaultyBrick, make, vanished

SEGMENT = SegmentId(0x01_0000000123)
FOUR_TWO = Protection(4, 2)
LENGTH = 4 * (5 * BLOCK_BYTES + 640) - 7
BYTES = random.Random(1).randbytes(LENGTH)


def filled(data: bytes = BYTES) -> bytearray:
    """A payload."""
    buffer = new_buffer(len(data))
    buffer[: len(data)] = data
    return buffer


async def written(segments: Segments, data: bytes = BYTES, wanted: Protection | None = None) -> Segment:
    """Store a segment."""
    return await segments.write(SEGMENT, filled(data), len(data), wanted)


def file_of(root: Path, segment: Segment, index: int) -> Path:
    """Where a shard lies."""
    return root / str(segment.bricks[index]) / "shards" / f"{segment.id % 256:02x}" / f"{segment.id:016x}.{index}"


def shard_files(root: Path) -> list[str]:
    """All shards of all bricks, as brick/name."""
    return sorted(f"{path.parts[-4]}/{path.name}" for path in root.glob("*/shards/*/*"))


def flip(path: Path, at: int) -> None:
    """Change a bit behind the brick's back."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << at % 8]))


async def set_of(root: Path, count: int = 6, mode: Protection = FOUR_TWO) -> tuple[Segments, dict[int, FaultyBrick]]:
    """Segments over new bricks."""
    bricks, made = make(root, count)
    return Segments(VOLUME, bricks, mode), made


# -- Writing -----------------------------------------------------------------------------------------------------------


async def test_healthy_write_is_whole(tmp_path: Path) -> None:
    """All shards on distinct bricks, at what was wanted."""
    segments, _ = await set_of(tmp_path)
    segment = await written(segments)
    assert (segment.protection, segment.wanted, sorted(segment.bricks)) == (FOUR_TWO, None, [1, 2, 3, 4, 5, 6])
    assert await segments.read(segment, 0, LENGTH) == BYTES
    assert not await segments.verify(segment)


@pytest.mark.parametrize(("bricks", "mode"), [(5, (3, 2)), (4, (2, 2)), (3, (1, 2)), (2, (1, 1)), (1, (1, 0))])
async def test_too_few_bricks_fall_back_visibly(tmp_path: Path, bricks: int, mode: tuple[int, int]) -> None:
    """The strongest that fits is used, and the record says what was wanted."""
    segments, _ = await set_of(tmp_path, bricks)
    segment = await written(segments)
    assert (segment.protection, segment.wanted) == (Protection(*mode), FOUR_TWO)
    assert await segments.read(segment, 0, LENGTH) == BYTES
    assert segments.counters.fallbacks == 1


async def test_shard_that_fails_goes_to_a_spare_brick(tmp_path: Path) -> None:
    """With a brick more than needed the segment is whole although one fails."""
    segments, made = await set_of(tmp_path, 7)
    for brick in made.values():
        brick.write_failure = BrickFault("I/O error") if brick.id == 4 else None
    segment = await written(segments)
    assert NO_BRICK not in segment.bricks
    assert segment.protection == FOUR_TWO
    assert 4 not in segment.bricks
    assert not await segments.verify(segment)


async def test_one_failing_brick_leaves_a_gap(tmp_path: Path) -> None:
    """With a shard to spare the segment is kept and names no brick for what failed."""
    segments, made = await set_of(tmp_path)
    made[3].write_failure = BrickFault("I/O error")
    segment = await written(segments)
    assert (segment.protection, segment.wanted, segment.bricks.count(NO_BRICK)) == (FOUR_TWO, None, 1)
    assert await segments.read(segment, 0, LENGTH) == BYTES
    assert segments.counters.shards_failed == 1


async def test_two_failing_bricks_have_it_written_anew(tmp_path: Path) -> None:
    """With no shard to spare it is written at what fits on the others, and nothing of the first try is left."""
    segments, made = await set_of(tmp_path)
    made[3].write_failure = made[6].write_failure = BrickFault("I/O error")
    segment = await written(segments)
    assert (segment.protection, segment.wanted) == (Protection(2, 2), FOUR_TWO)
    assert sorted(segment.bricks) == [1, 2, 4, 5]
    assert shard_files(tmp_path) == sorted(f"{b}/{SEGMENT:016x}.{i}" for i, b in enumerate(segment.bricks))
    assert await segments.read(segment, 0, LENGTH) == BYTES


@pytest.mark.parametrize("lost", [(1, 2), (3, 6), (4, 5)])
async def test_any_two_folders_may_vanish_under_it(tmp_path: Path, lost: tuple[int, int]) -> None:
    """Bricks that were deleted unnoticed fail no write, and what was written before is read."""
    segments, _ = await set_of(tmp_path)
    before = await written(segments)
    for number in lost:
        shutil.rmtree(tmp_path / str(number))
    data = BYTES[::-1]
    after = await segments.write(SegmentId(SEGMENT + 1), filled(data), LENGTH)
    assert not {*lost} & {*after.bricks}
    assert await segments.read(after, 0, LENGTH) == data
    assert await segments.read(before, 0, LENGTH) == BYTES


async def test_full_brick_is_passed_by(tmp_path: Path) -> None:
    """A brick on a device of its own that is full does not fill the volume."""
    segments, made = await set_of(tmp_path)
    made[2].write_failure = NoSpace("full")
    other_device(segments.brick_set, 2)
    segment = await written(segments)
    assert (segment.protection, segment.wanted) == (Protection(3, 2), FOUR_TWO)
    assert len(shard_files(tmp_path)) == 5


def other_device(bricks: Bricks, number: int) -> None:
    """Let a brick stand on a device of its own."""
    place = bricks._places[BrickId(number)]
    assert place.room is not None
    place.room = type(place.room)(place.room.total, place.room.free, place.room.device + 1)


async def test_full_volume_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """When no brick has room it is NoSpace, and no shard is left."""
    segments, made = await set_of(tmp_path)
    made[2].write_failure = NoSpace("full")
    with pytest.raises(NoSpace):
        await written(segments)
    assert not shard_files(tmp_path)
    assert not segments.in_flight


async def test_no_brick_at_all_is_a_fault(tmp_path: Path) -> None:
    """Without any brick it is the bricks that are named, not room."""
    segments, _ = await set_of(tmp_path, 2)
    for number in (1, 2):
        shutil.rmtree(tmp_path / str(number))
    with pytest.raises(BrickFault, match="no brick takes a shard"):
        await written(segments)


async def test_stalled_brick_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write goes on without a brick that hangs; its late file goes, and until then nothing is placed there."""
    monkeypatch.setattr(segment_writing, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(segment_writing, "_PATIENCE", 1)
    segments, made = await set_of(tmp_path)
    made[5].write_gate = threading.Event()
    segment = await written(segments)
    assert segment.bricks.count(NO_BRICK) == 1
    assert 5 not in segment.bricks
    assert [candidate.brick for candidate in segments.brick_set.writable()] == [1, 2, 3, 4, 6]
    made[5].write_gate.set()
    with trio.fail_after(5):
        while segments.brick_set.is_late(BrickId(5)):
            await segments.brick_set.changed.wait()
    assert not [name for name in shard_files(tmp_path) if name.startswith("5/")]
    assert made[5].written == 1
    assert len(segments.brick_set.writable()) == 6


async def test_cancelled_write_leaves_nothing(tmp_path: Path) -> None:
    """Who goes away while a brick hangs leaves no shard behind, once the brick is back."""
    segments, made = await set_of(tmp_path)
    made[5].write_gate = threading.Event()
    with trio.move_on_after(0.2):
        await written(segments)
    made[5].write_gate.set()
    with trio.fail_after(5):
        while segments.brick_set.is_late(BrickId(5)):
            await segments.brick_set.changed.wait()
    assert not shard_files(tmp_path)
    assert not segments.in_flight


# -- Reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 3, 4 * 64, BLOCK_BYTES, 4 * BLOCK_BYTES + 1, LENGTH])
async def test_any_two_shards_may_be_lost(tmp_path: Path, length: int) -> None:
    """For sizes at the edges every pair of bricks may be missing, whole and in pieces."""
    segments, _ = await set_of(tmp_path)
    segment = await written(segments, BYTES[:length])
    for lost in itertools.combinations(range(1, 7), 2):
        rest = Bricks()
        for number, brick in segments.bricks.items():
            if number not in lost:
                rest.attach(brick, segments.brick_set.records()[number], vanished)
        poorer = Segments(VOLUME, rest, FOUR_TWO)
        assert await poorer.read(segment, 0, length) == BYTES[:length]
        middle = length // 3
        assert await poorer.read(segment, middle, length // 2) == BYTES[middle : middle + length // 2]


async def test_three_lost_shards_lose_the_segment(tmp_path: Path) -> None:
    """Fewer than k raise, naming why."""
    segments, _ = await set_of(tmp_path)
    segment = await written(segments)
    for number in (1, 2, 3):
        segments.brick_set.detach(BrickId(number))
    with pytest.raises(SegmentLost, match=r"fewer than the 4 shards .* which is not here"):
        await segments.read(segment, 0, LENGTH)


async def test_damage_is_never_served_and_always_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 flipped bits anywhere in a shard's file: verify finds each, reads serve right bytes and report it."""
    segments, made = await set_of(tmp_path)
    segment = await written(segments)
    monkeypatch.setattr(hedging, "_BOUND_S_MIN", 5.0)
    chance = random.Random(7)
    reported: list[tuple[SegmentId, ShardIndex]] = []
    segments.on_damage = lambda number, index: reported.append((number, index))
    size = file_of(tmp_path, segment, 0).stat().st_size
    for number in range(1000):
        index, at = chance.randrange(6), chance.randrange(HEADER_BYTES if number % 2 else size)
        flip(file_of(tmp_path, segment, index), at)
        problem = await segments.verify_shard(segment, ShardIndex(index))
        assert problem is not None, (index, at)
        assert reported.pop() == (SEGMENT, index)
        made[segment.bricks[index]].close()  # the header that was read before the damage is forgotten
        if number % 10 == 0:
            fresh = Segments(VOLUME, segments.brick_set, FOUR_TWO)  # it has computed nothing yet
            fresh._reader._hedging.bound_s = 5.0  # no answer is so late that another wins
            fresh.on_damage = segments.on_damage
            assert await fresh.read(segment, 0, LENGTH) == BYTES
            assert set(reported) <= {(SEGMENT, index)}
            assert bool(reported) == (index < 4)
            reported.clear()
        flip(file_of(tmp_path, segment, index), at)
    assert not await segments.verify(segment)


@pytest.mark.parametrize("size", [0, 100, HEADER_BYTES, HEADER_BYTES + 1000, None])
async def test_torn_shard_is_computed_and_reported(tmp_path: Path, size: int | None) -> None:
    """A cut, empty or missing file is as good as damaged."""
    segments, _ = await set_of(tmp_path)
    segment = await written(segments)
    reported: list[ShardIndex] = []
    segments.on_damage = lambda _, index: reported.append(index)
    path = file_of(tmp_path, segment, 1)
    if size is None:
        path.unlink()
    else:
        os.truncate(path, size)
    assert await segments.read(segment, 0, LENGTH) == BYTES
    assert reported == [1]
    assert segments.counters.damaged + segments.counters.missing == 1
    assert [index for index, _ in await segments.verify(segment)] == [1]


async def test_lost_brick_is_no_damage(tmp_path: Path) -> None:
    """The shards of a brick that is gone are not reported one by one."""
    segments, _ = await set_of(tmp_path)
    segment = await written(segments)
    reported: list[ShardIndex] = []
    segments.on_damage = lambda _, index: reported.append(index)
    shutil.rmtree(tmp_path / str(segment.bricks[0]))
    assert await segments.read(segment, 0, LENGTH) == BYTES
    assert not reported
    assert segments.brick_set.find(segment.bricks[0]) is None


async def test_slow_brick_is_hedged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A brick that hangs delays a read by the bound only; hedges are counted and bounded."""
    segments, made = await set_of(tmp_path)
    segment = await written(segments)
    monkeypatch.setattr(segments._reader._hedging, "bound_s", 0.02)
    gate = made[segment.bricks[0]].read_gate = threading.Event()
    with trio.fail_after(5):
        assert await segments.read(segment, 0, LENGTH) == BYTES
    assert (segments.counters.hedges, segments.counters.hedges_won) == (1, 1)
    segments._reader._hedging._saved = 0.0
    monkeypatch.setattr(segment_reading, "_ANSWER_S_MAX", 0.1)
    assert await segments.read(segment, 0, 10) == BYTES[:10]
    gate.set()


async def test_slow_brick_may_still_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer that comes first counts, also when the shard itself is late but the others are later."""
    segments, made = await set_of(tmp_path)
    segment = await written(segments)
    monkeypatch.setattr(segments._reader._hedging, "bound_s", 0.02)
    gates = [threading.Event() for _ in range(6)]
    for index, gate in enumerate(gates):
        made[segment.bricks[index]].read_gate = gate
    async with trio.open_nursery() as nursery:

        async def open_late() -> None:
            await trio.sleep(0.1)
            gates[0].set()

        nursery.start_soon(open_late)
        with trio.fail_after(3):
            assert await segments.read(segment, 0, 100) == BYTES[:100]
    assert (segments.counters.hedges, segments.counters.hedges_won) == (1, 0)
    for gate in gates:
        gate.set()


async def test_stream_of_a_lost_shard_is_computed_once(tmp_path: Path) -> None:
    """Sequential reads of a shard that is gone compute all of it at once, and then need no thread."""
    segments, _ = await set_of(tmp_path)
    segment = await written(segments)
    segments.brick_set.detach(segment.bricks[0])
    for at in range(0, 4 * BLOCK_BYTES, BLOCK_BYTES):
        assert await segments.read(segment, at, BLOCK_BYTES) == BYTES[at : at + BLOCK_BYTES]
    assert segments.counters.reconstructed == 2
    assert segments.read_nowait(segment, 100, 5000) == BYTES[100:5100]


# -- Rebuilding --------------------------------------------------------------------------------------------------------


async def rebuilt(segments: Segments, segment: Segment, targets: dict[ShardIndex, BrickId]) -> tuple[BrickId, ...]:
    """In company, or what that leaves undone alone; the bricks then."""
    rebuild = Rebuild(segment, targets)
    if await segments.rebuild_quickly([rebuild]) != [True]:
        await segments.rebuild(rebuild)
    return rebuild.bricks


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("mode", [FOUR_TWO, Protection(1, 2), Protection(5, 3)])
async def test_rebuilt_shards_are_bit_exact(
    tmp_path: Path, mode: Protection, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any m shards, made anew on other bricks or in place, are the same files, made either way."""
    if not quick:
        monkeypatch.setattr(rebuilding.Rebuilder, "_quick", lambda *_: None)
    segments, _ = await set_of(tmp_path, mode.width + mode.m, mode)
    segment = await written(segments)
    spare = [number for number in segments.bricks if number not in segment.bricks]
    for lost in itertools.combinations(range(mode.width), mode.m):
        images = {index: file_of(tmp_path, segment, index).read_bytes() for index in lost}
        for index in lost:
            flip(file_of(tmp_path, segment, index), HEADER_BYTES + 5)
        targets = {ShardIndex(index): segment.bricks[index] for index in lost}
        assert await rebuilt(segments, segment, targets) == segment.bricks
        elsewhere = dict(zip(targets, spare, strict=False))
        bricks = await rebuilt(segments, segment, elsewhere)
        moved = Segment(segment.changed, SEGMENT, mode, LENGTH, 0, bricks, segment.digest)
        for index in lost:
            assert file_of(tmp_path, segment, index).read_bytes() == images[index]
            assert file_of(tmp_path, moved, index).read_bytes() == images[index]
            await segments.remove_shard(SEGMENT, ShardIndex(index), bricks[index])
    assert not segments.rebuilding


async def test_sound_shard_is_copied(tmp_path: Path) -> None:
    """Draining a brick needs no other shard."""
    segments, _ = await set_of(tmp_path, 7)
    segment = await written(segments)
    spare = next(number for number in segments.bricks if number not in segment.bricks)
    for index in range(1, 6):
        file_of(tmp_path, segment, index).unlink()
    bricks = await rebuilt(segments, segment, {ShardIndex(0): spare})
    assert bricks == (spare, *segment.bricks[1:])
    assert segments.counters.reconstructed == 0


async def test_failed_rebuild_leaves_nothing(tmp_path: Path) -> None:
    """One target that fails takes back what the others took."""
    segments, made = await set_of(tmp_path, 8)
    segment = await written(segments)
    first, second = (number for number in segments.bricks if number not in segment.bricks)
    before = shard_files(tmp_path)
    for failure in (BrickFault("I/O error"), NoSpace("full")):
        made[second].write_failure = failure
        with pytest.raises(type(failure)):
            await rebuilt(segments, segment, {ShardIndex(0): first, ShardIndex(1): second})
        assert shard_files(tmp_path) == before
    segments.brick_set.write_is_late(first)
    with pytest.raises(BrickFault, match="still at a write"):
        await rebuilt(segments, segment, {ShardIndex(0): first})
    segments.brick_set.detach(first)
    with pytest.raises(BrickFault, match="not here"):
        await rebuilt(segments, segment, {ShardIndex(0): first})


async def test_rebuild_without_enough_shards_says_so(tmp_path: Path) -> None:
    """Nothing is made up: what cannot be computed is lost."""
    segments, made = await set_of(tmp_path)
    segment = await written(segments)
    for index in (0, 1, 2):
        made[segment.bricks[index]].read_failure = CorruptShard("rot")
    with pytest.raises(SegmentLost):
        await rebuilt(segments, segment, {ShardIndex(0): segment.bricks[0]})
