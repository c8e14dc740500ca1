"""Where bytes are, and what a loss would mean: exact, over real brick folders."""

from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path

import pytest
import trio

from dwd.model.errors import BadRequest, NamespaceRefusal, UnknownBrick
from dwd.model.ids import ROOT, ShardIndex
from dwd.model.protection import Protection
from dwd.model.topology import Standing
from dwd.namespace.commands import Link, SetPolicy, Unlink
from dwd.services.pacing import Budget
from dwd.wire.reports_bricks import ExposureRow
from dwd.wire.reports_protection import WhatIfReport, WhereReport
from dwd.wire.verbs_protection import WhatIfLoseRequest, WhereRequest
from tests.unit.services.office import Office
from tests.unit.services.plant import DIRECTORY, LENGTH


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Six bricks, 4+2."""
    made = Office(tmp_path)
    yield made
    made.data.close()


def on_disk(office: Office) -> int:
    """Bytes of all shard files."""
    return sum(path.stat().st_size for path in office.plant.folder.glob("*/shards/*/*") if path.is_file())


async def where(office: Office, path: str, limit: int = 100) -> WhereReport:
    """Ask over the wire."""
    return await office.ask(WhereReport, "where", WhereRequest(path=path, limit=limit))


async def test_where_a_file_is(office: Office) -> None:
    """Its segments with their bricks, the real space that shard files take, and how many bricks may go."""
    number = office.plant.make(b"file")
    first = await office.plant.write(number)
    await office.plant.write(number, offset=LENGTH)
    found = await where(office, "/file")
    assert (found.kind, found.files, found.size, found.segments_total) == ("file", 1, 2 * LENGTH, 2)
    assert (found.margin, found.unreadable, found.zero_margin, found.inline) == (2, 0, 0, 0)
    assert found.used == on_disk(office)
    place = found.segments[0]
    assert (place.segment, place.bricks, place.protection) == (f"{first.id:016x}", first.bricks, "4+2")
    assert (place.bytes, place.extents, place.margin, place.missing) == (LENGTH, 1, 2, ())
    assert [share.shards for share in found.bricks] == [2] * 6
    assert sum(share.used for share in found.bricks) == found.used


async def test_where_shows_what_is_missing(office: Office) -> None:
    """A brick that is not here costs margin, and is named with its condition."""
    segment = await office.plant.write(office.plant.make(b"file"))
    for lost, margin in ((1, 1), (2, 0), (3, -1)):
        await office.plant.hide(lost)
        found = await where(office, "/file")
        assert found.margin == margin
        assert found.segments[0].missing == tuple(i for i, b in enumerate(segment.bricks) if b <= lost)
        assert [share.state for share in found.bricks] == ["missing"] * lost + ["online"] * (6 - lost)
    found = await where(office, "/file")
    assert (found.unreadable, found.zero_margin) == (LENGTH, 0)


async def test_where_a_directory_is(office: Office) -> None:
    """Totals of all below it: exact although only some segments are listed; a file of two names counts once."""
    below = office.plant.make(b"below", mode=DIRECTORY)
    deeper = office.plant.make(b"deeper", below, DIRECTORY)
    for i in range(3):
        await office.plant.write(office.plant.make(b"%d" % i, below))
    twice = office.plant.make(b"twice", deeper)
    await office.plant.write(twice)
    office.plant.do(Link(twice, below, b"again"))
    await office.plant.write(office.plant.make(b"elsewhere"))
    found = await where(office, "/below", limit=2)
    assert (found.kind, found.files, found.size) == ("directory", 4, 4 * LENGTH)
    assert (found.segments_total, len(found.segments)) == (4, 2)
    assert found.used == on_disk(office) * 4 // 5
    whole = await where(office, "/", limit=0)
    assert (whole.files, whole.used, whole.segments) == (5, on_disk(office), ())


async def test_where_refuses(office: Office) -> None:
    """No such path, a path that does not begin at the root, through a file."""
    office.plant.make(b"file")
    for path in ("/absent", "/file/below"):
        with pytest.raises(NamespaceRefusal, match=path):
            await where(office, path)
    with pytest.raises(BadRequest, match="beginning with /"):
        await where(office, "file")


async def test_names_are_bytes(office: Office) -> None:
    """A name that is no text, and a backslash, as shown_name writes them."""
    office.plant.make(b"\xff\\x")
    assert (await where(office, r"/\xff\\x")).kind == "file"


async def what_if(office: Office, *lost: object, limit: int = 20) -> WhatIfReport:
    """Ask over the wire."""
    request = WhatIfLoseRequest(lost=tuple(map(str, lost)), limit=limit)
    return await office.ask(WhatIfReport, "what-if lose", request)


async def test_what_if_is_what_would_be(office: Office) -> None:
    """For every pair and triple of bricks: the files that it says cannot be read are those that cannot be."""
    plain, single, mirrored = (office.plant.make(name) for name in (b"plain", b"single", b"mirrored"))
    office.plant.do(SetPolicy(single, Protection(1, 0)))
    office.plant.do(SetPolicy(mirrored, Protection(1, 1)))
    segments = {number: await office.plant.write(number) for number in (plain, single, mirrored)}
    for count in (1, 2, 3):
        for lost in combinations(range(1, 7), count):
            margins = {n: s.protection.m - len(set(s.bricks) & set(lost)) for n, s in segments.items()}
            touched = {n for n, s in segments.items() if set(s.bricks) & set(lost)}
            found: dict[str, ExposureRow] = {row.fate: row for row in (await what_if(office, *lost)).exposed}
            for fate, numbers in (
                ("unreadable", {n for n in touched if margins[n] < 0}),
                ("zero-margin", {n for n in touched if margins[n] == 0}),
                ("degraded", {n for n in touched if margins[n] > 0}),
            ):
                assert (fate in found) == bool(numbers)
                if numbers:
                    assert (found[fate].files, found[fate].segments) == (len(numbers), len(numbers))
                    assert found[fate].bytes == LENGTH * len(numbers)
                    assert len(found[fate].some) == len(numbers)


async def test_what_if_counts_what_is_missing_already(office: Office) -> None:
    """One brick gone and one said: the margin of both; a whole node is all its bricks."""
    await office.plant.fill(30)
    await office.plant.hide(6)
    found = await what_if(office, 1, limit=3)
    assert (found.lost, found.missing_now, found.files, found.bytes) == ((1,), (6,), 30, 30 * LENGTH)
    (row,) = found.exposed
    assert (row.fate, row.files, len(row.some), row.some[0]) == ("zero-margin", 30, 3, "/file 0")
    assert found.rebuild_bytes == on_disk_of(office, 1) * 2
    assert (await what_if(office, "node:1")).exposed[0].fate == "unreadable"


def on_disk_of(office: Office, brick: int) -> int:
    """Bytes of one brick's shard files."""
    return sum(path.stat().st_size for path in office.plant.path(brick).glob("shards/*/*"))


async def test_what_is_known_to_be_damaged_counts_as_lost(office: Office) -> None:
    """A shard that a read found bad, and that is not mended yet, is margin that is not there."""
    segment = await office.plant.write(office.plant.make(b"file"))
    bad = next(i for i, brick in enumerate(segment.bricks) if brick != 1)
    office.plant.healer.damaged(segment.id, ShardIndex(bad))
    assert (await where(office, "/file")).margin == 1
    assert (await where(office, "/file")).segments[0].missing == (bad,)
    assert (await what_if(office, 1)).exposed[0].fate == "zero-margin"


async def test_the_rate_is_told(office: Office) -> None:
    """Assumed where nothing is known; the budget where there is one."""
    await office.plant.fill(1)
    found = await what_if(office, 1)
    assert found.rate_is == "assumed"
    assert found.seconds > 0
    office.plant.pacer.budget = Budget(bytes_per_s=1000)
    found = await what_if(office, 1)
    assert (found.rate_is, found.rate) == ("budget", 1000)
    assert found.seconds == 5 * found.rebuild_bytes / 1000  # four read for the one that is written


async def test_what_if_refuses_what_it_does_not_know(office: Office) -> None:
    """Unknown and removed bricks, unknown nodes, and nothing at all."""
    office.plant.stand(6, Standing.REMOVED)
    for name in ("7", "6", "node:2", "x", "-1"):
        with pytest.raises(UnknownBrick):
            await what_if(office, 1, name)
    with pytest.raises(BadRequest):
        await what_if(office)


async def test_deleted_and_still_open(office: Office) -> None:
    """A file without a name is counted, and told as such."""
    number = office.plant.make(b"file")
    await office.plant.write(number)
    office.plant.do(Unlink(ROOT, b"file"))
    (row,) = (await what_if(office, 1)).exposed
    assert row.some == (f"(deleted, and still open: inode {number})",)


async def test_a_question_ends_when_nobody_waits(office: Office) -> None:
    """One who hangs up stops the walk."""
    await office.plant.fill(2)
    with trio.CancelScope() as scope:
        scope.cancel()
        await where(office, "/")
    assert scope.cancelled_caught
