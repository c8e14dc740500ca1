"""Bricks replaced and removed, on real brick folders: what is refused, what it costs, and that it can be finished."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio

from dwd.adapters.folder_room import room_of
from dwd.model.errors import BadConfig, BrickInUse, NotSafe, Overloaded, TooSmall, UnknownBrick, VolumeMismatch
from dwd.model.ids import BrickId, SegmentId
from dwd.model.protection import Protection
from dwd.model.topology import Standing
from dwd.namespace.commands import SetPolicy
from dwd.services import brick_replacing
from dwd.services.bricks import Condition
from dwd.wire.reports_bricks import BrickReport
from dwd.wire.verbs_bricks import BrickRemoveRequest, BrickReplaceRequest
from tests.unit.services.office import Office
from tests.unit.services.plant import flip

TWO = BrickId(2)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Six bricks, 4+2, and four files."""
    made = Office(tmp_path)
    await made.plant.fill(4)
    yield made
    made.data.close()


async def lose(office: Office, number: int) -> None:
    """Delete a brick's folder."""
    shutil.rmtree(office.plant.path(number))
    assert not await office.plant.bricks.inspect(BrickId(number))


async def test_a_lost_brick_is_replaced_and_rebuilt(office: Office, tmp_path: Path) -> None:
    """Same id, another uuid and folder; the waiter returns when every shard is there again."""
    await lose(office, 2)
    old = office.register.record(TWO)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(office.plant.healer.run)
        request = BrickReplaceRequest(id=2, folder=str(tmp_path / "new"), wait=True)
        report = await office.ask(BrickReport, "brick replace", request)
        nursery.cancel_scope.cancel()
    assert (report.id, report.path, report.standing, report.shards) == (2, str(tmp_path / "new"), "active", 4)
    assert (report.exposed[0].fate, report.exposed[0].files) == ("degraded", 4)
    assert office.register.record(TWO).uuid not in {old.uuid, b""}
    assert office.places.path(TWO) == tmp_path / "new"
    assert office.shown[-1].done == 4
    await office.plant.check_whole()


async def test_a_dry_run_replaces_nothing(office: Office, tmp_path: Path) -> None:
    """It says what would be rebuilt, and how long that takes."""
    await lose(office, 2)
    before = office.places.identity
    report = await office.replacing.replace(TWO, tmp_path / "new", force=False, dry_run=True)
    assert (report.dry_run, report.shards, report.bytes_to_move > 0, report.seconds is not None) == (
        True,
        4,
        True,
        True,
    )
    assert office.places.identity == before
    assert not (tmp_path / "new").exists()


async def test_a_brick_that_works_is_not_replaced(office: Office, tmp_path: Path) -> None:
    """It holds shards: drain it. Force computes them from the others; the old folder stays as it is."""
    with pytest.raises(BrickInUse, match="works, and holds 4 shards"):
        await office.replacing.replace(TWO, tmp_path / "new", force=False, dry_run=False)
    await office.replacing.replace(TWO, tmp_path / "new", force=True, dry_run=False)
    assert any(path.is_file() for path in (office.plant.path(2) / "shards").rglob("*"))
    await office.plant.healer.heal()
    await office.plant.check_bytes()
    assert await office.plant.problems() == 0


async def test_a_brick_that_has_what_no_other_has(office: Office, tmp_path: Path) -> None:
    """While it works it is not given up, forced or not; when it is lost, force gives up what the text names."""
    number = office.plant.make(b"single")
    office.plant.do(SetPolicy(number, Protection(1, 0)))
    segment = await office.plant.write(number)
    (brick,) = segment.bricks
    for force in (False, True):
        with pytest.raises(NotSafe, match="unreadable: 1 files"):
            await office.replacing.replace(brick, tmp_path / "new", force=force, dry_run=False)
    await lose(office, brick)
    with pytest.raises(NotSafe, match="bring it back"):
        await office.replacing.replace(brick, tmp_path / "new", force=False, dry_run=False)
    report = await office.replacing.replace(brick, tmp_path / "new", force=True, dry_run=False)
    worst = report.exposed[0]
    assert (worst.fate, worst.files, worst.some) == ("unreadable", 1, ("/single",))
    assert worst.bytes == segment.length


async def test_a_folder_that_cannot_take_its_place(office: Office, tmp_path: Path) -> None:
    """Not empty, the brick itself, another brick, too small, a relative path: refused, and nothing changes."""
    await lose(office, 2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("dear")
    before = office.places.identity
    for folder, error in (
        (tmp_path / "full", VolumeMismatch),
        (office.plant.path(3), BadConfig),
        (Path("here"), BadConfig),
    ):
        with pytest.raises(error):
            await office.replacing.replace(TWO, folder, force=False, dry_run=False)
    with pytest.raises(BrickInUse, match="itself"):
        await office.replacing.replace(BrickId(3), office.plant.path(3), force=True, dry_run=False)
    office.replacing.room_of = lambda folder: attrs.evolve(room_of(folder), free=1000)
    for force in (False, True):
        with pytest.raises(TooSmall, match="room for 1000"):
            await office.replacing.replace(TWO, tmp_path / "new", force=force, dry_run=False)
    assert office.places.identity == before
    assert office.register.record(TWO).weight == 1.0
    with pytest.raises(UnknownBrick):
        await office.replacing.replace(BrickId(9), tmp_path / "new", force=True, dry_run=False)


async def test_a_refused_folder_leaves_the_old_brick_in_service(office: Office, tmp_path: Path) -> None:
    """What could not be replaced is written as before."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("dear")
    with pytest.raises(VolumeMismatch):
        await office.replacing.replace(TWO, tmp_path / "full", force=True, dry_run=False)
    assert {one.brick: one.weight for one in office.plant.bricks.writable()}[TWO] == 1.0


async def test_writes_under_way_hold_it_up(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A brick that works is exchanged when no write is for it any more, or not at all."""
    monkeypatch.setattr(brick_replacing, "_WRITES_S_MAX", 0.1)
    office.plant.segments.in_flight.add(SegmentId(77))
    with pytest.raises(Overloaded):
        await office.replacing.replace(TWO, tmp_path / "new", force=True, dry_run=False)
    with pytest.raises(Overloaded):
        await office.replacing.remove(TWO, force=False, dry_run=False)
    assert {one.brick: one.weight for one in office.plant.bricks.writable()}[TWO] == 1.0


async def test_replacing_again_finishes_what_was_interrupted(office: Office, tmp_path: Path) -> None:
    """The data folder knew of the new folder and the record did not: the same command goes on from there."""
    await lose(office, 2)
    office.places.replace_place(TWO, tmp_path / "new")
    await office.plant.bricks.inspect(TWO)
    assert office.plant.bricks.find(TWO) is None
    report = await office.replacing.replace(TWO, tmp_path / "new", force=False, dry_run=False)
    assert report.standing == "active"
    assert office.plant.bricks.condition(TWO).condition is Condition.ONLINE
    await office.plant.healer.heal()
    await office.plant.check_whole()


async def test_remove_takes_only_what_was_drained(tmp_path: Path) -> None:
    """In service, or with shards on it: refused. Drained and empty: gone, its folder stays, its id is dead."""
    office = Office(tmp_path, bricks=7)
    await office.plant.fill(7)
    number = next(segment.bricks[0] for segment in office.plant.state.segments(b"S"))
    with pytest.raises(BrickInUse, match="holds"):
        await office.replacing.remove(number, force=False, dry_run=False)
    await office.bricks.drain(number, force=False, dry_run=False)
    await office.plant.mover.drain()
    would = await office.replacing.remove(number, force=False, dry_run=True)
    assert (would.dry_run, would.standing) == (True, "draining")
    report = await office.ask(BrickReport, "brick remove", BrickRemoveRequest(id=number))
    assert (report.standing, report.shards, report.exposed) == ("removed", 0, ())
    assert office.plant.bricks.find(number) is None
    assert number not in {place.id for place in office.places.identity.bricks}
    assert (office.plant.path(number) / "superblock").exists()
    with pytest.raises(UnknownBrick):
        await office.replacing.remove(number, force=True, dry_run=False)
    await office.plant.check_bytes()
    office.data.close()


async def test_an_empty_brick_in_service_is_not_removed(office: Office) -> None:
    """A write may be on its way to it."""
    office.plant.add_brick(7)
    office.places.add_place(office.plant.folder / "8", BrickId(8))
    with pytest.raises(BrickInUse, match="in service"):
        await office.replacing.remove(BrickId(7), force=False, dry_run=False)


async def test_a_forced_removal_names_what_it_costs(office: Office) -> None:
    """With two bricks lost already nothing can be read without a third: said first, and then done."""
    await lose(office, 1)
    await lose(office, 3)
    for dry_run in (True, False):
        report = await office.replacing.remove(TWO, force=True, dry_run=dry_run)
        (row,) = report.exposed
        assert (row.fate, row.files, row.segments) == ("unreadable", 4, 4)
        assert row.some == ("/file 0", "/file 1", "/file 2", "/file 3")
        assert "unreadable: 4 files" in report.warning
    assert office.register.standing(TWO) == "removed"


async def test_remove_again_finishes_what_was_interrupted(office: Office) -> None:
    """The record knew of the removal and the data folder did not."""
    office.plant.stand(2, Standing.REMOVED)
    report = await office.replacing.remove(TWO, force=False, dry_run=False)
    assert report.standing == "removed"
    assert TWO not in {place.id for place in office.places.identity.bricks}
    assert office.plant.bricks.find(TWO) is None


async def test_the_last_brick_is_not_removed(tmp_path: Path) -> None:
    """Not even by force."""
    office = Office(tmp_path, bricks=1, protection=Protection(1, 0))
    with pytest.raises(NotSafe, match="last"):
        await office.replacing.remove(BrickId(1), force=True, dry_run=False)
    office.data.close()


async def test_waiting_ends_when_healing_can_do_no_more(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be computed any more is not waited for."""
    monkeypatch.setattr(brick_replacing, "_IDLE_S_MAX", 0.05)
    await lose(office, 2)
    segment = next(iter(office.plant.state.segments(b"S")))
    for index in [i for i, brick in enumerate(segment.bricks) if brick != TWO][:2]:
        flip(office.plant.shard(segment.id, index))
    await office.replacing.replace(TWO, tmp_path / "new", force=False, dry_run=False)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(office.plant.healer.run)
            await office.replacing.wait_rebuilt(TWO, office.shown.append)
            nursery.cancel_scope.cancel()
    assert os.listdir(tmp_path / "new")
