"""Conversions on real brick folders."""

from pathlib import Path

import pytest
import trio

from dwd.model.errors import NamespaceRefusal, NoSpace
from dwd.model.ids import InodeNumber
from dwd.model.protection import Protection
from dwd.namespace.commands import Command, Relocate, SetProtection
from dwd.namespace.records import ConversionState
from dwd.services.converting import ConversionStatus
from tests.unit.services.plant import DIRECTORY, Plant, until

TWO = Protection(1, 1)
THREE = Protection(1, 2)


async def _tree(tmp_path: Path, files: int = 3) -> tuple[Plant, InodeNumber, list[InodeNumber]]:
    """A directory with files in it and below it, and one file beside it."""
    plant = Plant(tmp_path)
    top = plant.make(b"top", mode=DIRECTORY)
    below = plant.make(b"below", top, DIRECTORY)
    inside = [plant.make(b"%d" % i, top if i else below) for i in range(files)]
    for number in [*inside, plant.make(b"beside")]:
        await plant.write(number, 30_000)
    return plant, top, inside


def _protections(plant: Plant, number: InodeNumber) -> set[Protection]:
    """Of the segments that hold a file."""
    segments = (plant.state.find_segment(extent.segment) for _, extent in plant.state.extents(number, 0, 1 << 40))
    return {segment.protection for segment in segments if segment is not None}


async def _convert(plant: Plant) -> None:
    for record in list(plant.state.conversions()):
        await plant.converter.convert(record)
    await plant.garbage.collect()


async def test_everything_below_is_written_anew(tmp_path: Path) -> None:
    """Inodes get the protection, bytes lie in segments of it, the file beside keeps its own, and the job is gone."""
    plant, top, inside = await _tree(tmp_path)
    await plant.converter.start(top, TWO)
    assert [s.state for s in plant.converter.status()] == [ConversionState.RUNNING]
    await _convert(plant)
    for number in inside:
        assert plant.state.inode(number).protection == TWO
        assert _protections(plant, number) == {TWO}
    others = set(plant.model) - set(inside)
    assert all(_protections(plant, number) == {Protection(4, 2)} for number in others)
    assert plant.converter.status() == ()
    assert plant.state.inode(plant.make(b"later", top)).protection == TWO
    await plant.check_whole()


async def test_progress_is_told(tmp_path: Path) -> None:
    """Files and bytes, done and in all."""
    plant, top, _ = await _tree(tmp_path)
    seen: list[ConversionStatus] = []

    def note(command: Command) -> None:
        if isinstance(command.operation, Relocate):
            seen.extend(plant.converter.status())

    plant.log.before = note
    await plant.converter.start(top, TWO)
    await _convert(plant)
    assert (seen[0].files_total, seen[0].bytes_total, seen[0].passes) == (3, 90_000, 1)


async def test_a_conversion_can_be_taken_back(tmp_path: Path) -> None:
    """To the policy that stood there before, or to none: done already, or not."""
    plant, top, inside = await _tree(tmp_path)
    await plant.converter.start(top, TWO)
    await _convert(plant)
    await plant.converter.start(top, THREE)
    await plant.converter.revert(top)
    assert plant.state.inode(top).protection == TWO
    await _convert(plant)
    assert {p for number in inside for p in _protections(plant, number)} == {TWO}
    await plant.converter.start(top, None)
    await _convert(plant)
    assert {p for number in inside for p in _protections(plant, number)} == {Protection(4, 2)}
    assert plant.state.policy(top) is None
    await plant.check_whole()


async def test_said_twice_it_can_still_be_taken_back(tmp_path: Path) -> None:
    """The same mode again does not make itself the one before."""
    plant, top, _ = await _tree(tmp_path)
    await plant.converter.start(top, TWO)
    await plant.converter.start(top, THREE)
    await plant.converter.start(top, THREE)
    await plant.converter.revert(top)
    assert plant.state.inode(top).protection == TWO


async def test_pause_and_resume(tmp_path: Path) -> None:
    """A paused conversion changes nothing more; resumed it goes on where it is."""
    plant, top, inside = await _tree(tmp_path)
    await plant.converter.start(top, TWO)
    await plant.converter.pause(top)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plant.converter.run)
        await trio.sleep(0.05)
        assert [s.state for s in plant.converter.status()] == [ConversionState.PAUSED]
        assert _protections(plant, inside[0]) == {Protection(4, 2)}
        await plant.converter.resume(top)
        await until(lambda: not plant.converter.status())
        nursery.cancel_scope.cancel()
    assert _protections(plant, inside[0]) == {TWO}
    await plant.garbage.collect()
    await plant.check_whole()


async def test_a_kill_in_the_midst_costs_nothing(tmp_path: Path) -> None:
    """The record stays, and a restarted daemon ends it without writing anew what is done."""
    plant, top, inside = await _tree(tmp_path)
    await plant.write(inside[0], 30_000, 30_000)

    class Killed(BaseException):
        pass

    def kill(command: Command) -> None:
        if isinstance(command.operation, SetProtection) and command.operation.number == inside[0]:
            raise Killed

    await plant.converter.start(top, TWO)
    plant.log.before = kill
    with pytest.raises(Killed):
        await plant.converter.convert(next(plant.state.conversions()))
    plant.log.before = lambda _: None
    plant.restart()
    assert len(plant.converter.status()) == 1
    await _convert(plant)
    assert {p for number in inside for p in _protections(plant, number)} == {TWO}
    await plant.check_whole()


async def test_what_is_written_meanwhile_is_caught(tmp_path: Path) -> None:
    """Bytes that were on their way at the old protection are waited for, and what moves in is met by another pass."""
    plant, top, _ = await _tree(tmp_path)
    await plant.converter.start(top, TWO)
    plant.segments.in_flight.add(on_its_way := plant.metadata.new_segment_id())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plant.converter.convert, next(plant.state.conversions()))
        await trio.sleep(0.1)
        assert len(plant.converter.status()) == 1
        plant.segments.in_flight.discard(on_its_way)
    assert plant.converter.status() == ()

    moved: list[InodeNumber] = []

    def move_in(command: Command) -> None:
        if isinstance(command.operation, Relocate) and not moved:
            moved.append(plant.make(b"zzz", plant.state.inode(top).number))
            plant.do(SetProtection(moved[0], None))

    plant.log.before = move_in
    await plant.converter.start(top, THREE)
    await _convert(plant)
    assert plant.state.inode(moved[0]).protection == THREE


async def test_a_full_volume_makes_it_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    """It says why, tries again, and ends once there is room."""
    mock_clock.rate = 100
    plant, top, inside = await _tree(tmp_path, 2)
    real, attempts = plant.segments.write, []

    async def full(*given: object) -> object:
        attempts.append(plant.converter.status()[0].problem)
        if len(attempts) < 3:
            raise NoSpace("no room")
        return await real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(plant.segments, "write", full)
    await plant.converter.start(top, TWO)
    await plant.converter.convert(next(plant.state.conversions()))
    assert attempts[:3] == ["", "no room", "no room"]
    assert _protections(plant, inside[0]) == {TWO}


async def test_a_file_alone(tmp_path: Path) -> None:
    """A policy may be set on a file; taken away, it has what its directory has."""
    plant, _, inside = await _tree(tmp_path)
    await plant.converter.start(inside[1], THREE)
    await _convert(plant)
    assert _protections(plant, inside[1]) == {THREE}
    assert _protections(plant, inside[2]) == {Protection(4, 2)}
    await plant.converter.start(inside[1], None, inherited=None)
    await _convert(plant)
    assert _protections(plant, inside[1]) == {Protection(4, 2)}


async def test_what_is_gone_is_refused(tmp_path: Path) -> None:
    """An inode that does not exist has no policy."""
    plant = Plant(tmp_path, bricks=1)
    with pytest.raises(NamespaceRefusal):
        await plant.converter.start(InodeNumber(99), TWO)
