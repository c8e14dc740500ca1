"""The command line where it does more than pass on what was typed: it asks people, and completes paths."""

import io
import os
from pathlib import Path

import msgspec
import pytest

from dwd import cli
from dwd.adapters import mounted_paths
from dwd.gateways.admin import ShowProgress, serve_verb
from dwd.model.errors import NamespaceRefusal
from dwd.wire.reports import LogStatus, MountStatus, SegmentsStatus, SpaceStatus, StatusReport
from dwd.wire.reports_bricks import BrickReport
from dwd.wire.reports_protection import WhereReport
from dwd.wire.shown import shown_name
from dwd.wire.verb import Request
from dwd.wire.verbs import STATUS, StatusRequest
from dwd.wire.verbs_bricks import BRICK_ADD, BRICK_REMOVE, BrickAddRequest, BrickRemoveRequest
from dwd.wire.verbs_protection import WHERE, WhereRequest
from tests.unit.test_cli import daemon

STATUS_REPORT = StatusReport(
    state="serving", volume="", version="", pid=1, epoch=1, uptime_s=0.0, protection="4+2",
    space=SpaceStatus(total=0, available=0, used=0), inodes=0, inline_bytes=0,
    segments=SegmentsStatus(live=0, dead=0, bytes=0),
    log=LogStatus(term=0, commit=0, applied=0, durable=0, wal_bytes=0), bricks=(), mounts=(), findings=0, problems=(),
)  # fmt: skip
REPORT = BrickReport(
    id=3, path="/b/3", standing="active", weight=1.0, dry_run=False, shards=4, bytes_to_move=9, seconds=1.0, warning="",
    exposed=(),
)  # fmt: skip


class Recorder:
    """Handlers that remember what they were asked."""

    def __init__(self, mount_point: Path) -> None:
        self.asked: list[Request] = []
        self._mount_point = mount_point
        self.served = (
            serve_verb(BRICK_REMOVE, self._remove),
            serve_verb(BRICK_ADD, self._add),
            serve_verb(WHERE, self._where),
            serve_verb(STATUS, self._status),
        )

    async def _remove(self, request: BrickRemoveRequest, _: ShowProgress) -> BrickReport:
        self.asked.append(request)
        return REPORT

    async def _add(self, request: BrickAddRequest, _: ShowProgress) -> BrickReport:
        self.asked.append(request)
        return REPORT

    async def _where(self, request: WhereRequest, _: ShowProgress) -> WhereReport:
        self.asked.append(request)
        raise NamespaceRefusal(2, request.path)

    async def _status(self, _: StatusRequest, __: ShowProgress) -> StatusReport:
        label = shown_name(os.fsencode(self._mount_point))
        mount = MountStatus(label=label, session="00", pid=1, exclusive=True)
        return msgspec.structs.replace(STATUS_REPORT, mounts=(mount,))


def test_who_cannot_be_asked_must_say_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal a destructive verb is refused and nothing is asked of the daemon; --yes and --dry-run do."""
    recorder = Recorder(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    command = ["brick", "remove", "3", "--force", "--data", str(tmp_path)]
    with daemon(tmp_path, recorder.served):
        for extra in ([], ["--json"]):
            assert cli.main([*command, *extra]) == 3
        assert recorder.asked == []
        capsys.readouterr()
        assert cli.main([*command, "--yes"]) == 0
        assert cli.main([*command, "--dry-run"]) == 0
        assert cli.main([*command[:3], *command[4:]]) == 0  # safe by itself: nobody is asked
    safe = BrickRemoveRequest(id=3)
    forced = BrickRemoveRequest(id=3, force=True)
    assert recorder.asked == [forced, msgspec.structs.replace(forced, dry_run=True), safe]


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code"), [("yes\n", 0), ("no\n", 3), ("", 3)])
def test_a_person_is_shown_what_it_does_and_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, code: int
) -> None:
    """The dry run first; then a typed yes, or nothing is done."""
    recorder = Recorder(tmp_path)
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    with daemon(tmp_path, recorder.served):
        assert cli.main(["brick", "remove", "3", "--force", "--data", str(tmp_path)]) == code
    err = capsys.readouterr().err
    assert "bytes_to_move" in err
    assert "type yes" in err
    assert [request.dry_run for request in recorder.asked if isinstance(request, BrickRemoveRequest)] == [
        True,
        *([False] if code == 0 else []),
    ]


def test_a_folder_is_sent_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon runs elsewhere: a relative folder begins where the command was typed; a name is bytes."""
    recorder = Recorder(tmp_path)
    monkeypatch.chdir(tmp_path)
    with daemon(tmp_path, recorder.served):
        assert cli.main(["brick", "add", "new\udcff", "--data", str(tmp_path)]) == 0
    assert recorder.asked == [BrickAddRequest(folder=f"{tmp_path}/new\\xff")]


def test_a_path_on_a_mount_is_one_in_the_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lies on a mount of this volume is sent as from its root, and anything else as it was typed."""
    mounted = tmp_path / "mnt"
    mounted.mkdir()
    recorder = Recorder(mounted)
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"40 22 0:50 / {mounted} rw - fuse.dwfs data rw\n")
    monkeypatch.setattr(mounted_paths, "_MOUNTINFO", mountinfo)
    monkeypatch.chdir(mounted)
    with daemon(tmp_path, recorder.served):
        for typed in (f"{mounted}/a/b", "a/b", "/elsewhere", "."):
            assert cli.main(["where", typed, "--data", str(tmp_path)]) == 3
        monkeypatch.chdir(tmp_path)
        assert cli.main(["where", "a/b", "--data", str(tmp_path)]) == 2
    assert [request.path for request in recorder.asked if isinstance(request, WhereRequest)] == [
        "/a/b", "/a/b", "/elsewhere", "/",
    ]  # fmt: skip
