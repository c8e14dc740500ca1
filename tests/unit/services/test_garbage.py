"""Garbage and orphans on real brick folders."""

import shutil
from pathlib import Path

import pytest
import trio

from dwd.model.errors import BrickFault
from dwd.model.ids import BrickId, SegmentId, ShardIndex, segment_id
from dwd.namespace.commands import ForgetSegments, SetAttributes
from tests.unit.services.plant import Plant, until


def _stray(plant: Plant, segment: SegmentId, brick: int, index: int, source: SegmentId) -> Path:
    """A shard file that nobody named there."""
    path = plant.path(brick) / "shards" / f"{segment % 256:02x}" / f"{segment:016x}.{index}"
    shutil.copy(plant.shard(source, 0), path)
    return path


def _free(plant: Plant, count: int) -> None:
    """Cut the first files to nothing, so that their segments are garbage."""
    for number in list(plant.model)[:count]:
        plant.do(SetAttributes(number, size=0))
        plant.model[number] = b""


async def test_dead_segments_go(tmp_path: Path) -> None:
    """All shards of what nothing points into, and then their records."""
    plant = Plant(tmp_path)
    await plant.fill(3)
    _free(plant, 2)
    await plant.garbage.collect()
    assert plant.garbage.status().segments_removed == 2
    assert list(plant.state.segments(b"G")) == []
    await plant.check_whole()


async def test_a_missing_brick_does_not_stop_it(tmp_path: Path) -> None:
    """The record is forgotten; the shard is an orphan once the brick is back, and goes."""
    plant = Plant(tmp_path)
    await plant.fill(2)
    await plant.hide(4)
    _free(plant, 1)
    await plant.garbage.collect()
    assert list(plant.state.segments(b"G")) == []
    await plant.bring_back(4)
    assert len(plant.files() - plant.named()) == 1
    await plant.garbage.sweep(BrickId(4), at_once=True)
    assert plant.garbage.status().strays_removed == 1
    await plant.check_whole()


async def test_a_failing_brick_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a brick would not remove is counted, and left to the sweep."""
    plant = Plant(tmp_path)
    await plant.fill(1)
    _free(plant, 1)

    def fail(*_: object) -> None:
        raise BrickFault("brick 2: EIO")

    with monkeypatch.context() as patch:
        patch.setattr(plant.bricks.find(BrickId(2)), "remove_shard", fail)
        await plant.garbage.collect()
    assert plant.garbage.status().shards_left == 1
    await plant.garbage.sweep(BrickId(2), at_once=True)
    assert plant.files() == set()


async def test_a_claimed_segment_is_left_until_it_is_free(tmp_path: Path) -> None:
    """Whoever moves shards of a segment finishes first; the collector does not spin on it."""
    plant = Plant(tmp_path)
    segment = (await plant.fill(1))[0]
    _free(plant, 1)
    with plant.claims.claim(segment) as ours:
        assert ours
        await plant.garbage.collect()
        assert [found.id for found in plant.state.segments(b"G")] == [segment]
    await plant.garbage.collect()
    assert plant.files() == set()


async def test_which_shards_are_strays(tmp_path: Path) -> None:
    """No record, another brick on record, or an index beyond the width; not what is in flight, claimed or garbage."""
    plant = Plant(tmp_path, bricks=7)
    segment = (await plant.fill(1))[0]
    record = plant.state.find_segment(segment)
    assert record is not None
    other = next(n for n in range(1, 8) if n not in record.bricks)
    unnamed = segment_id(plant.metadata.epoch, 99)
    strays = [
        _stray(plant, unnamed, 1, 0, segment),
        _stray(plant, segment, other, 2, segment),
        _stray(plant, segment, other, 17, segment),
    ]
    plant.segments.in_flight.add(unnamed)
    for number in range(1, 8):
        await plant.garbage.sweep(BrickId(number), at_once=True)
    assert [path.exists() for path in strays] == [True, False, False]
    plant.segments.in_flight.clear()
    with plant.claims.claim(unnamed):
        await plant.garbage.sweep(BrickId(1), at_once=True)
    assert strays[0].exists()
    _free(plant, 1)
    for number in range(1, 8):
        await plant.garbage.sweep(BrickId(number), at_once=True)
    assert {shard[1] for shard in plant.files()} == {segment}
    assert not strays[0].exists()


async def test_a_later_sweep_looks_twice(tmp_path: Path) -> None:
    """What looked like a stray and was named within the grace stays."""
    plant = Plant(tmp_path)
    segment = (await plant.fill(1))[0]
    _stray(plant, segment_id(plant.metadata.epoch, 99), 1, 0, segment)
    found = [stray for n in range(1, 7) for stray in await plant.garbage.sweep(BrickId(n), at_once=False)]
    assert [(s.brick, s.segment) for s in found] == [(1, segment_id(plant.metadata.epoch, 99))]
    plant.segments.in_flight.add(found[0].segment)
    await plant.garbage.remove_strays(found)
    assert len(plant.files()) == 7
    plant.segments.in_flight.clear()
    await plant.garbage.remove_strays(found)
    await plant.check_whole()


async def test_a_shard_under_a_name_of_garbage_stays_garbage(tmp_path: Path) -> None:
    """A forgotten segment's shard that a power cut brought back goes with the next sweep."""
    plant = Plant(tmp_path)
    segment = (await plant.fill(1))[0]
    _free(plant, 1)
    plant.do(ForgetSegments((segment,)))
    for number in range(1, 7):
        await plant.garbage.sweep(BrickId(number), at_once=True)
    assert plant.files() == set()


async def test_it_sweeps_what_comes_by_itself(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """Every brick at the start, and one that returns at once."""
    mock_clock.rate = 20
    plant = Plant(tmp_path)
    segment = (await plant.fill(1))[0]
    stray = _stray(plant, segment_id(plant.metadata.epoch, 99), 1, 0, segment)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plant.garbage.run)
        await plant.garbage.swept.wait()
        assert not stray.exists()
        await plant.hide(3)
        hidden = plant.folder / "hidden-3" / "shards" / "63" / f"{segment_id(plant.metadata.epoch, 99):016x}.0"
        shutil.copy(plant.shard(segment, next(i for i in range(6) if i not in _indices_on(plant, segment, 3))), hidden)
        await plant.bring_back(3)
        await until(lambda: plant.files() == plant.named())
        nursery.cancel_scope.cancel()


def _indices_on(plant: Plant, segment: SegmentId, brick: int) -> list[ShardIndex]:
    record = plant.state.find_segment(segment)
    assert record is not None
    return [ShardIndex(i) for i, number in enumerate(record.bricks) if number == brick]
