"""Bricks listed, added, drained, taken back, weighed, balanced; on real brick folders."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from dwd.model.errors import BadConfig, NothingToDo, NotSafe, UnknownBrick, VolumeMismatch
from dwd.model.ids import BrickId
from dwd.model.protection import Protection
from dwd.model.topology import Standing
from dwd.wire.reports_bricks import BrickReport
from dwd.wire.verbs_bricks import BrickAddRequest, BrickDrainRequest
from tests.unit.services.office import Office

SEVEN = BrickId(7)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Six bricks, 4+2."""
    made = Office(tmp_path)
    yield made
    made.data.close()


async def balanced(office: Office) -> None:
    """Let the mover work until something was moved and nothing is left to be."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(office.plant.mover.run)
            while not (status := office.plant.mover.status()).bytes_moved or status.balance_left:  # noqa: ASYNC110
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()


async def test_list_tells_all_of_every_brick(office: Office) -> None:
    """Path, condition, standing, weight, room, and exactly the shards and bytes that lie there."""
    segments = await office.plant.fill(3)
    await office.plant.hide(2)
    office.plant.stand(3, Standing.DRAINING, 0.5)
    rows = {row.id: row for row in (await office.bricks.list()).bricks}
    assert list(rows) == [1, 2, 3, 4, 5, 6]
    assert (rows[1].state, rows[1].standing, rows[1].path) == ("online", "active", str(office.plant.path(1)))
    assert (rows[2].state, rows[2].total) == ("missing", 0)
    assert rows[2].evidence
    assert (rows[3].standing, rows[3].weight) == ("draining", 0.5)
    assert rows[1].total >= rows[1].free > 0
    assert [row.metadata for row in rows.values()] == [True, False, False, False, False, False]
    for row in rows.values():
        assert row.shards == len(segments)
    sizes = [path.stat().st_size for path in office.plant.path(1).rglob("*.?") if path.is_file()]
    assert rows[1].held == sum(sizes)


async def test_add_takes_a_folder_in_and_balances(office: Office, tmp_path: Path) -> None:
    """A new id, a record, a place in the identity, and shards: as many as its share, and no file is harmed."""
    await office.plant.fill(12)
    report = await office.ask(BrickReport, "brick add", BrickAddRequest(folder=str(tmp_path / "new"), weight=2.0))
    assert (report.id, report.standing, report.weight) == (7, "active", 2.0)
    record = office.register.record(SEVEN)
    assert (record.uuid, record.domain) == (office.open(SEVEN).uuid, "default/default/1")
    assert office.places.path(SEVEN) == tmp_path / "new"
    await balanced(office)
    assert (await office.register.held(SEVEN)).shards > 0
    await office.plant.check_bytes()


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
async def test_add_refuses_a_weight_that_is_none(office: Office, tmp_path: Path, weight: float) -> None:
    """Nothing is made."""
    with pytest.raises(BadConfig, match="weight"):
        await office.bricks.add(tmp_path / "new", weight, "")
    assert not (tmp_path / "new").exists()


async def test_add_refuses_folders_that_cannot_be_a_brick(office: Office, tmp_path: Path) -> None:
    """Not empty, another brick, in use, a relative path, a wrong domain: each is refused, and nothing changes."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("dear")
    before = office.places.identity
    for folder, domain, error in (
        (tmp_path / "full", "", VolumeMismatch),
        (office.plant.path(2), "", BadConfig),
        (Path("here"), "", BadConfig),
        (tmp_path / "new", "a/b", BadConfig),
    ):
        with pytest.raises(error):
            await office.bricks.add(folder, 1.0, domain)
    assert office.places.identity == before
    assert len(office.register.present()) == 6


async def test_add_again_finishes_what_was_interrupted(office: Office, tmp_path: Path) -> None:
    """A place without a record becomes the brick that it was to be, under the same id; an id is never used again."""
    office.places.add_place(tmp_path / "new", SEVEN)
    report = await office.bricks.add(tmp_path / "new", 1.0, "")
    assert report.id == 7
    assert office.register.bricks.find(SEVEN) is not None
    office.plant.stand(7, Standing.REMOVED)
    await office.register.forget(SEVEN)
    assert (await office.bricks.add(tmp_path / "other", 1.0, "")).id == 8


async def test_drain_empties_a_brick(tmp_path: Path) -> None:
    """With room elsewhere: everything goes, the waiter sees how far it is, and the brick stays readable."""
    office = Office(tmp_path, bricks=8)
    await office.plant.fill(6)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(office.plant.mover.run)
        report = await office.ask(BrickReport, "brick drain", BrickDrainRequest(id=1, wait=True))
        nursery.cancel_scope.cancel()
    assert report.bytes_to_move > 0
    assert office.register.standing(BrickId(1)) == "draining"
    assert (await office.register.held(BrickId(1))).shards == 0
    assert (office.shown[-1].done, office.shown[-1].unit) == (report.bytes_to_move, "bytes")
    await office.plant.check_bytes()


async def test_drain_is_refused_where_nothing_fits_elsewhere(office: Office) -> None:
    """4+2 on six bricks: the text counts what would stay; so does a dry run; force does it and names files."""
    await office.plant.fill(3)
    with pytest.raises(NotSafe, match="3 segments"):
        await office.bricks.drain(BrickId(1), force=False, dry_run=False)
    with pytest.raises(NotSafe):
        await office.bricks.drain(BrickId(1), force=False, dry_run=True)
    assert office.register.standing(BrickId(1)) == "active"
    would = await office.bricks.drain(BrickId(1), force=True, dry_run=True)
    assert (office.register.standing(BrickId(1)), would.dry_run) == ("active", True)
    report = await office.ask(BrickReport, "brick drain", BrickDrainRequest(id=1, force=True, wait=True))
    assert report.standing == "draining"
    assert "3 segments" in report.warning
    (row,) = report.exposed
    assert (row.fate, row.files, row.segments, len(row.some)) == ("degraded", 3, 3, 3)
    assert row.some[0] == "/file 0"


async def test_the_last_brick_is_not_drained(tmp_path: Path) -> None:
    """Empty or not, there must be another that takes something; force says what that means."""
    office = Office(tmp_path, bricks=2, protection=Protection(1, 0))
    await office.bricks.drain(BrickId(2), force=False, dry_run=False)
    with pytest.raises(NotSafe, match="last"):
        await office.bricks.drain(BrickId(1), force=False, dry_run=False)
    report = await office.bricks.drain(BrickId(1), force=True, dry_run=True)
    assert "nothing can be written" in report.warning


async def test_a_brick_is_taken_back(office: Office) -> None:
    """One that drains or was ejected is in service again; one that is in service cannot be."""
    for standing in (Standing.DRAINING, Standing.EJECTED):
        office.plant.stand(2, standing)
        report = await office.ask(BrickReport, "brick drain", BrickDrainRequest(id=2, cancel=True))
        assert report.standing == "active"
        assert any(one.brick == 2 for one in office.plant.bricks.writable())
    with pytest.raises(NothingToDo):
        await office.bricks.take_back(BrickId(2), dry_run=False)


async def test_unknown_bricks(office: Office) -> None:
    """An id that never was, or was removed, is named together with those that there are."""
    office.plant.stand(6, Standing.REMOVED)
    for number in (0, 6, 99):
        with pytest.raises(UnknownBrick, match="there are 1, 2, 3, 4, 5"):
            await office.bricks.drain(BrickId(number), force=True, dry_run=False)
        with pytest.raises(UnknownBrick):
            await office.bricks.weigh(BrickId(number), 1.0)


async def test_weigh_changes_the_share(office: Office) -> None:
    """The record and what is placed from now on follow."""
    report = await office.bricks.weigh(BrickId(4), 2.5)
    assert report.weight == 2.5
    (candidate,) = [one for one in office.plant.bricks.writable() if one.brick == 4]
    assert candidate.weight == 2.5
    with pytest.raises(BadConfig):
        await office.bricks.weigh(BrickId(4), 0.0)


async def test_balance_says_the_least_and_moves_no_more(office: Office) -> None:
    """A dry run moves nothing; then what was said is moved, at most 1.2 times the least."""
    await office.plant.fill(20)
    office.plant.add_brick(7)
    would = await office.bricks.balance(dry_run=True, show=office.shown.append)
    assert would.least > 0
    assert would.bytes_to_move <= 1.2 * would.least
    assert not (await office.register.held(SEVEN)).shards
    await office.bricks.balance(dry_run=False, show=office.shown.append)
    await balanced(office)
    assert 0 < office.plant.mover.status().bytes_moved <= 1.2 * would.least


async def test_one_who_goes_away_leaves_nothing_half(office: Office, tmp_path: Path) -> None:
    """A cancelled addition is done whole all the same."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await office.bricks.add(tmp_path / "new", 1.0, "")
    present = {record.id for record in office.register.present()}
    assert present == {place.id for place in office.places.identity.bricks}
