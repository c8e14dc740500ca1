"""Policies: set, estimated, paused, resumed and taken back; converted on real brick folders."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from dwd.model.errors import BadConfig, BadRequest, NamespaceRefusal, NothingToDo
from dwd.model.protection import Protection
from dwd.model.topology import Standing
from dwd.wire.reports_protection import ProtectReport
from dwd.wire.verbs_protection import ProtectRequest
from tests.unit.services.office import Office
from tests.unit.services.plant import DIRECTORY, LENGTH


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Six bricks, 4+2, and /top/file."""
    made = Office(tmp_path)
    top = made.plant.make(b"top", mode=DIRECTORY)
    await made.plant.write(made.plant.make(b"file", top))
    yield made
    made.data.close()


async def protect(office: Office, path: str, mode: str = "", **options: bool) -> ProtectReport:
    """Ask over the wire."""
    return await office.ask(ProtectReport, "protect", ProtectRequest(path=path, mode=mode, **options))


async def converted(office: Office) -> None:
    """Let the converter work until nothing is to be done."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(office.plant.converter.run)
            while office.plant.converter.status():  # noqa: ASYNC110
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()


def protections(office: Office) -> set[str]:
    """Of all segments with living bytes."""
    return {segment.protection.name for segment in office.plant.state.segments(b"S") if segment.live}


async def test_protect_converts_what_is_there(office: Office) -> None:
    """The report says what is under way; in the end every byte has the mode, and reads back."""
    report = await protect(office, "/top", "Replica3")
    assert (report.policy, report.protection, report.previous, report.dry_run) == ("Replica3", "Replica3", None, False)
    assert report.conversion is not None
    assert (report.conversion.wanted, report.conversion.state) == ("Replica3", "running")
    await converted(office)
    assert (await protect(office, "/top")).conversion is None
    assert protections(office) == {"Replica3"}
    assert (await protect(office, "/top/file", status=True)).protection == "Replica3"
    await office.plant.check_bytes()


async def test_a_dry_run_changes_nothing(office: Office) -> None:
    """Files, bytes, space before and after, and time; the policy stays what it was."""
    index = office.plant.state.index
    report = await protect(office, "/top", "Replica2", dry_run=True)
    assert office.plant.state.index == index
    assert (report.dry_run, report.policy, report.protection, report.conversion) == (True, "Replica2", "Replica2", None)
    assert report.estimate is not None
    assert (report.estimate.files, report.estimate.directories, report.estimate.bytes) == (1, 0, LENGTH)
    assert report.estimate.to_rewrite == LENGTH
    assert (report.estimate.stored_before, report.estimate.stored_after) == (LENGTH * 6 // 4, LENGTH * 2)
    assert report.estimate.seconds
    assert (await protect(office, "/top")).policy is None


async def test_pause_resume_revert(office: Office) -> None:
    """A paused conversion does nothing; reverted, everything has again what it had."""
    await protect(office, "/top", "Replica2")
    report = await protect(office, "/top", pause=True)
    assert report.conversion is not None
    assert report.conversion.state == "paused"
    assert office.protecting.conversions()[0].path == "/top"
    report = await protect(office, "/top", resume=True)
    assert report.conversion is not None
    assert report.conversion.state == "running"
    await converted(office)
    assert protections(office) == {"Replica2"}
    report = await protect(office, "/top", revert=True)
    assert (report.policy, report.protection) == (None, "4+2")
    await converted(office)
    assert protections(office) == {"4+2"}
    await office.plant.check_bytes()


async def test_default_takes_a_policy_away(office: Office) -> None:
    """From a directory and from a file: what is above counts again."""
    await protect(office, "/top", "Replica3")
    await protect(office, "/top/file", "Replica2")
    report = await protect(office, "/top/file", "default")
    assert (report.policy, report.protection) == (None, "Replica3")
    report = await protect(office, "/top", "INHERIT")
    assert (report.policy, report.protection, report.previous) == (None, "4+2", None)
    await converted(office)
    assert protections(office) == {"4+2"}


async def test_what_does_not_fit_is_refused(office: Office) -> None:
    """Too few bricks in service, counted with those that are merely away; the text says what is missing."""
    with pytest.raises(BadConfig, match="needs 9 bricks, and there are 6"):
        await protect(office, "/top", "6+3")
    await office.plant.hide(6)
    report = await protect(office, "/top", "4+2", dry_run=True)
    assert (report.protection, report.now) == ("4+2", "3+2")
    office.plant.stand(5, Standing.DRAINING)
    for dry_run in (False, True):
        with pytest.raises(BadConfig, match="and there are 5"):
            await protect(office, "/top", "4+2", dry_run=dry_run)
    with pytest.raises(BadConfig, match="is not None"):
        await protect(office, "/top", "plenty")
    assert office.plant.state.policy(office.protecting._find("/top").inode.number) is None


async def test_paths_and_options_that_make_no_sense(office: Office) -> None:
    """Nothing there, a link, nothing under way, two things at once."""
    office.plant.make(b"link", mode=0o120777)
    with pytest.raises(NamespaceRefusal, match="/absent"):
        await protect(office, "/absent", "None")
    with pytest.raises(BadRequest, match="beginning with /"):
        await protect(office, "top", "None")
    for options in ({"pause": True}, {"resume": True}, {"revert": True}):
        with pytest.raises(NothingToDo):
            await protect(office, "/top", "", **options)
    for mode, options in (
        ("None", {"pause": True}),
        ("", {"pause": True, "resume": True}),
        ("", {"dry_run": True}),
        ("None", {"status": True}),
    ):
        with pytest.raises(BadRequest, match="MODE"):
            await protect(office, "/top", mode, **options)


async def test_the_root_has_a_policy(office: Office) -> None:
    """The volume's own directory may have one, and lose it."""
    assert (await protect(office, "/", "Replica2")).policy == "Replica2"
    await converted(office)
    assert protections(office) == {"Replica2"}
    assert (await protect(office, "/", "default")).protection == "4+2"


async def test_what_is_written_now(office: Office) -> None:
    """With bricks away the strongest that fits; with none at all the wanted one is named."""
    for number in range(1, 7):
        assert office.protecting.now(Protection(4, 2)).width == 7 - number
        await office.plant.hide(number)
    assert office.protecting.now(Protection(4, 2)) == Protection(4, 2)
