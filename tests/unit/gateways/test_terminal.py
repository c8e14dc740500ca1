"""Reports as tables and as JSON."""

import io
import json

import pytest
from rich.console import Console

from dwd.gateways.terminal import confirm, failure_json, print_failure, print_report, progress_bar, report_json
from dwd.wire.admin import Failed, Progress
from dwd.wire.reports import (
    BrickStatus,
    Finding,
    FsckReport,
    LogStatus,
    MountStatus,
    Report,
    SegmentsStatus,
    SpaceStatus,
    StatisticsReport,
    StatusReport,
    VolumeReport,
)
from dwd.wire.reports_bricks import BalanceReport
from dwd.wire.reports_protection import SegmentPlace

NASTY = "\x1b[2J[red]x\n\u202e"

STATUS = StatusReport(
    state="degraded",
    volume="ab" * 16,
    version="0.1.0",
    pid=7,
    epoch=3,
    uptime_s=93784.0,
    protection="4+2",
    space=SpaceStatus(total=1 << 40, available=1536, used=0),
    inodes=5,
    inline_bytes=0,
    segments=SegmentsStatus(live=1, dead=2, bytes=3),
    log=LogStatus(term=1, commit=2, applied=2, durable=1, wal_bytes=16 << 20),
    bricks=(
        BrickStatus(id=1, path="/a", state="online", total=1 << 30, free=1 << 29, shards=12),
        BrickStatus(id=2, path=NASTY, state="missing", total=0, free=0),
    ),
    mounts=(MountStatus(label="/mnt", session="00", pid=1, exclusive=True),),
    findings=0,
    problems=("brick 2 is missing: mount its disk",),
)


def shown(report: object, *, terminal: bool = False, width: int = 1000) -> str:
    """What a person gets."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, markup=False, highlight=False, emoji=False, force_terminal=terminal, color_system=None
    )
    if isinstance(report, Failed):
        print_failure(console, "dwd", report)
    else:
        print_report(console, report)  # type: ignore[arg-type]
    return out.getvalue()


def test_a_table_has_every_field_with_its_unit() -> None:
    """Bytes, seconds and times are shown as people read them, nested values indented, rows as a table."""
    text = shown(STATUS)
    lines = [line.split() for line in text.splitlines()]
    assert ["uptime_s", "1", "d", "2", "h"] in lines
    assert ["available", "1.5", "KiB"] in lines
    assert ["total", "1.0", "TiB"] in lines
    assert ["wal_bytes", "16.0", "MiB"] in lines
    assert ["id", "path", "state", "total", "free", "shards", "standing", "evidence"] in lines
    assert ["1", "/a", "online", "1.0", "GiB", "512.0", "MiB", "12", "active"] in lines
    assert ["brick", "2", "is", "missing:", "mount", "its", "disk"] in lines
    for name in StatusReport.__struct_fields__:
        assert name in text


def test_a_name_cannot_touch_the_terminal() -> None:
    """Escapes, line ends, markup and bidirectional marks in a name come out as text, in tables and in errors."""
    for report in (STATUS, StatisticsReport(values={NASTY: 1}), Failed("fault", NASTY, NASTY, fault=True)):
        text = shown(report)
        assert r"\x1b[2J[red]x\x0a\u202e" in text
        assert all(char.isprintable() or char == "\n" for char in text)


def test_a_report_is_one_json_object() -> None:
    """Scripts get the fields as they are, on one line; a nasty name survives the way."""
    text = report_json(STATUS)
    assert "\n" not in text
    assert json.loads(text)["bricks"][1]["path"] == NASTY
    assert json.loads(text)["uptime_s"] == 93784.0
    failure = json.loads(failure_json(Failed("no-space", "full", "remove", fault=False)))
    assert failure == {"error": {"code": "no-space", "message": "full", "remedy": "remove", "fault": False}}


class Listing(Report, frozen=True, kw_only=True):
    """Rows that have lists in them."""

    rows: tuple[Finding, ...] = ()
    places: tuple[SegmentPlace, ...] = ()


def test_lists_in_a_row_are_words() -> None:
    """Ids of bricks stand behind each other; none are a dash."""
    place = SegmentPlace(
        segment="05", bytes=1024, extents=1, protection="4+2", wanted="4+2", margin=1, bricks=(1, 2, 0), missing=()
    )
    assert ["05", "1.0", "KiB", "1", "4+2", "4+2", "1", "1", "2", "0", "-"] in [
        line.split() for line in shown(Listing(places=(place,))).splitlines()
    ]


def test_what_may_be_unknown_has_its_unit_all_the_same() -> None:
    """A duration that is known is one, and one that is not is a dash."""
    for seconds, text in ((90.0, ["seconds", "1", "min", "30", "s"]), (None, ["seconds", "-"])):
        report = BalanceReport(dry_run=True, bytes_to_move=0, least=0, seconds=seconds)
        assert text in [line.split() for line in shown(report).splitlines()]


@pytest.mark.parametrize(("typed", "meant"), [("yes\n", True), (" YES \n", True), ("y\n", False), ("", False)])
def test_only_a_typed_yes_is_one(typed: str, meant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else, and the end of the input, is a no."""
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    out = io.StringIO()
    assert confirm(Console(file=out), f"really {NASTY}?") is meant
    assert all(char.isprintable() or char == "\n" for char in out.getvalue())


def test_statistics_are_sorted_and_empty_lists_are_said() -> None:
    """One line a value, by name; nothing is shown as none."""
    assert shown(StatisticsReport(values={"b.x": 2, "a.y": 0.5})).split() == [
        "values",
        "a.y",
        "=",
        "0.5",
        "b.x",
        "=",
        "2",
    ]
    volume = VolumeReport(id="00", created=0, protection="4+2", formats={"wal": 1}, bricks=())
    assert ["bricks", "none"] in [line.split() for line in shown(volume).splitlines()]
    assert "1970-01-01 00:00:00 UTC" in shown(volume)


def test_findings_are_rows() -> None:
    """Each finding is shown with its remedy; the report is not clean."""
    finding = Finding(code="lost-segment", severity="error", subject="segment 5", detail="2 of 6", remedy="restore")
    report = FsckReport(
        inodes=1, entries=1, extents=1, segments=1, shards=6, bytes_verified=9, findings_total=1, findings=(finding,)
    )
    assert not report.clean
    assert [*["lost-segment", "error", "segment", "5", "2", "of", "6", "restore"]] in [
        line.split() for line in shown(report).splitlines()
    ]


def test_progress_is_for_terminals_only() -> None:
    """Nothing is written to a pipe; on a terminal the text shows, harmless."""
    for terminal in (False, True):
        out = io.StringIO()
        with progress_bar(Console(file=out, force_terminal=terminal, width=200), "fsck") as show:
            show(Progress(3, 10, "shards", NASTY))
        assert bool(out.getvalue()) is terminal
        if terminal:
            assert r"fsck: \x1b[2J[red]x\x0a\u202e 3 of 10 shards" in out.getvalue()
