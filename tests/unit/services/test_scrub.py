"""The scrub on real brick folders."""

from pathlib import Path

import pytest
import trio

from dwd.model.protection import Protection
from dwd.model.units import NS_PER_S
from dwd.namespace.commands import SetProtection
from dwd.services.scrub import DAY_S, Scrubber
from dwd.wire.admin import Progress
from tests.unit.services.plant import Plant, TrioClock, flip


async def _whole_pass(plant: Plant) -> list[Progress]:
    """As `dwd scrub start --wait` does it."""
    shown: list[Progress] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plant.scrubber.run)
        plant.scrubber.start()
        await plant.scrubber.wait(shown.append)
        nursery.cancel_scope.cancel()
    return shown


async def test_a_whole_pass_reads_every_shard(tmp_path: Path) -> None:
    """All segments and bytes, with progress, and the record says that it is done."""
    plant = Plant(tmp_path)
    segments = await plant.fill(5)
    shown = await _whole_pass(plant)
    status = plant.scrubber.status()
    assert (status.segments, status.damaged, status.bytes_left, status.running) == (5, 0, 0, False)
    assert status.bytes == sum(path.stat().st_size - 4096 for path in plant.changes())
    assert (shown[-1].done, shown[-1].total) == (status.bytes, status.bytes)
    record = plant.state.scrub()
    assert record is not None
    assert (record.segments, record.cursor, record.finished > 0) == (5, segments[-1], True)


async def test_damage_and_missing_files_go_to_the_healer(tmp_path: Path) -> None:
    """Flipped, torn, emptied and missing shards are found, counted and mended."""
    plant = Plant(tmp_path)
    segments = await plant.fill(4)
    flip(plant.shard(segments[0], 0), 40)
    plant.shard(segments[1], 5).unlink()
    plant.shard(segments[2], 3).write_bytes(b"")
    torn = plant.shard(segments[3], 4)
    torn.write_bytes(torn.read_bytes()[:5000])
    await _whole_pass(plant)
    assert plant.scrubber.status().damaged == 4
    await plant.healer.mender.mend_all()
    assert plant.healer.status().mending.mended == 4
    await plant.check_whole()
    await _whole_pass(plant)
    assert plant.scrubber.status().damaged == 0


async def test_a_folder_in_the_place_of_a_shard_is_mended(tmp_path: Path) -> None:
    """Somebody's mistake must not keep a shard from coming back."""
    plant = Plant(tmp_path)
    (segment,) = await plant.fill(1)
    shard = plant.shard(segment, 2)
    shard.unlink()
    shard.mkdir()
    (shard / "something").write_bytes(b"else")
    await _whole_pass(plant)
    await plant.healer.mender.mend_all()
    assert shard.is_file()
    await plant.check_whole()


async def test_bytes_of_a_file_with_another_policy_are_moved(tmp_path: Path) -> None:
    """It was renamed to where another protection is wanted; the others of its segment stay."""
    plant = Plant(tmp_path)
    await plant.fill(3)
    number = plant.make(b"moved")
    await plant.write(number)
    wanted = Protection(1, 1)
    plant.do(SetProtection(number, wanted))
    await _whole_pass(plant)
    assert [segment.protection for segment in plant.state.segments(b"S")].count(wanted) == 1
    assert plant.refitter.bytes_moved == plant.state.inode(number).size
    assert await plant.read(number) == plant.model[number]


async def test_a_brick_that_is_away_is_no_damage(tmp_path: Path) -> None:
    """It is the healer's business, which knows how long it has been away."""
    plant = Plant(tmp_path)
    await plant.fill(2)
    await plant.hide(1)
    await _whole_pass(plant)
    assert plant.scrubber.status().damaged == 0


async def test_a_pass_goes_on_after_a_restart(tmp_path: Path) -> None:
    """From the segment after the last that was noted."""
    plant = Plant(tmp_path)
    await plant.fill(5)
    plant.scrubber._noted = (float("-inf"), 0)
    plant.scrubber.start()
    await plant.scrubber.count()
    await plant.scrubber.step()
    assert plant.scrubber.status().segments == 4
    plant.restart()
    status = plant.scrubber.status()
    assert (status.segments, status.running, status.hurried) == (4, True, False)
    await plant.scrubber.count()
    assert plant.scrubber.status().bytes_left == status.bytes // 4
    await plant.scrubber._read(plant.scrubber._pass, plant.scrubber._after(plant.scrubber._pass.cursor)[0])
    assert plant.scrubber.status().bytes_left == 0


class _Instant:
    """Segments that are verified in no time: the clock may jump."""

    def __init__(self) -> None:
        self.bricks: dict[int, object] = {}
        self.at: list[float] = []

    async def verify(self, _: object) -> list[object]:
        """Note when."""
        self.at.append(trio.current_time())
        return []


async def test_the_pace_spreads_a_pass_over_the_period(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """Nothing is read in a rush, all of it before the deadline, and the next pass begins in time."""
    plant = Plant(tmp_path)
    await plant.fill(40, 1000)
    mock_clock.autojump_threshold = 0
    instant = _Instant()
    scrubber = Scrubber(plant.metadata, instant, plant.refitter, plant.pacer, TrioClock(), period_s=DAY_S)  # type: ignore[arg-type]
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrubber.run)
        await trio.sleep(0.5 * DAY_S)
        assert len(instant.at) == pytest.approx(40 * 0.5 / 0.9, abs=2)
        status = scrubber.status()
        assert status.margin_s == pytest.approx(0.1 * DAY_S, rel=0.2)
        assert status.deadline == status.started + DAY_S * NS_PER_S
        await trio.sleep(0.45 * DAY_S)
        assert len(instant.at) >= 40
        await trio.sleep(0.9 * DAY_S)
        assert len(instant.at) >= 80
        nursery.cancel_scope.cancel()
    for first, second in zip(instant.at, instant.at[40:], strict=False):
        assert second - first <= DAY_S
    assert instant.at[0] - start < 0.05 * DAY_S
    record = plant.state.scrub()
    assert record is not None


async def test_an_empty_volume_is_scrubbed_in_no_time(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """And the next pass is due after the period, not at once."""
    mock_clock.autojump_threshold = 0
    plant = Plant(tmp_path, bricks=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plant.scrubber.run)
        await trio.sleep(DAY_S)
        assert not plant.scrubber.status().running
        started = plant.scrubber.status().started
        await trio.sleep(12 * DAY_S)
        assert plant.scrubber.status().started > started
        nursery.cancel_scope.cancel()


async def test_it_is_noted_rarely(tmp_path: Path) -> None:
    """A pass over few segments is one record, at its end."""
    plant = Plant(tmp_path)
    await plant.fill(6)
    before = plant.log._index
    await _whole_pass(plant)
    assert plant.log._index == before + 1
