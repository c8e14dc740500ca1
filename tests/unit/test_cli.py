"""The command line: parsing, output, exit codes; with a real admin socket where one is needed."""

import json
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from dwd import cli
from dwd.adapters.unix_socket import open_listener, peer_of
from dwd.config import ServeOptions
from dwd.gateways.admin import AdminGateway, Served, ShowProgress, serve_verb
from dwd.gateways.arguments import Usage, request_of
from dwd.model.errors import BrickFault, DataBusy
from dwd.wire.admin import Progress
from dwd.wire.reports import (
    Finding,
    FsckReport,
    StatisticsReport,
    StopReport,
    VersionReport,
)
from dwd.wire.verbs import (
    FSCK,
    STATISTICS,
    STOP,
    VERBS,
    VERSION,
    FsckRequest,
    StatisticsRequest,
    StopRequest,
    VersionRequest,
)

TOP = Path(__file__).parents[2]
FINDING = Finding(code="lost-segment", severity="error", subject="segment 5", detail="gone", remedy="restore")
BAD = FsckReport(
    inodes=1, entries=1, extents=1, segments=1, shards=5, bytes_verified=9, findings_total=1, findings=(FINDING,)
)
GOOD = msgspec.structs.replace(BAD, findings_total=0, findings=())


async def statistics(request: StatisticsRequest, _: ShowProgress) -> StatisticsReport:
    """A handler that answers, or refuses, or fails."""
    if request.component == "busy":
        raise DataBusy("declined")
    if request.component == "broken":
        raise BrickFault("brick 3 is gone")
    return StatisticsReport(values={"wal.records": 7})


async def fsck(request: FsckRequest, _: ShowProgress) -> FsckReport:
    """A handler with findings."""
    return GOOD if request.metadata_only else BAD


async def version(_request: VersionRequest, _: ShowProgress) -> VersionReport:
    """A handler."""
    return VersionReport(version="9.9.9", admin_protocol=1)


SERVED = (serve_verb(STATISTICS, statistics), serve_verb(FSCK, fsck), serve_verb(VERSION, version))


@contextmanager
def daemon(folder: Path, served: tuple[Served, ...] = SERVED) -> Iterator[None]:
    """An admin socket that is served in a thread."""
    ready = threading.Event()
    tokens: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def run() -> None:
        gateway = AdminGateway(served, owner_uid=0, peer_of=peer_of, audit=lambda _: None, wall_clock_ns=lambda: 0)
        async with open_listener(folder, "dwd.sock") as listener:
            with trio.CancelScope() as scope:
                tokens.append((trio.lowlevel.current_trio_token(), scope))
                ready.set()
                await gateway.run(listener)

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    assert ready.wait(5)
    try:
        yield
    finally:
        token, scope = tokens[0]
        token.run_sync_soon(scope.cancel)
        thread.join()


@contextmanager
def application(monkeypatch: pytest.MonkeyPatch, **functions: Callable[..., object]) -> Iterator[None]:
    """Stand-ins for the functions of dwd.app, which starts real daemons."""
    module = types.ModuleType("dwd.app")
    for name, function in functions.items():
        setattr(module, name, function)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dwd.app", module)
        yield


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`dwd --help` names each command and exit code; each verb's own help ends with 0."""
    for words in ([], *(verb.words for verb in VERBS.values())):
        with pytest.raises(SystemExit) as ended:
            cli.main([*words, "--help"])
        assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "exit codes:" in text
    assert all(word in text for verb in VERBS.values() for word in verb.words)
    assert "--metadata-only" in text


def test_a_request_is_made_from_the_arguments() -> None:
    """Options and positions become fields; what was not typed has the request's own default."""
    parser = cli.build_parser()
    assert request_of(FSCK, parser.parse_args(["fsck"])) == FsckRequest(metadata_only=False)
    assert request_of(FSCK, parser.parse_args(["fsck", "--metadata-only"])) == FsckRequest(metadata_only=True)
    assert request_of(STATISTICS, parser.parse_args(["statistics", "wal"])) == StatisticsRequest(component="wal")


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["config"], ["fsck", "--meta"], ["status", "--data"], ["serve", "--bricks", "x"],
     ["serve", "--bricks", "2", "--brick", "a"]],
)  # fmt: skip
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be understood is said on stderr, or with --json as an object on stdout; options are never guessed."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, "[usage]" in err) == ("", True)
    assert cli.main(["--json", *arguments]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


@pytest.mark.parametrize("arguments", [["status"], ["statistics"], ["volume", "show"]])
def test_without_a_daemon_exit_5(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It says that no daemon runs and how to start one; also when the folder is not there."""
    for data in (tmp_path, tmp_path / "absent"):
        assert cli.main([*arguments, "--data", str(data)]) == 5
        assert "dwd serve" in capsys.readouterr().err
        assert cli.main([*arguments, "--data", str(data), "--json"]) == 5
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "not-running"


def test_a_report_is_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same report for people and for scripts; DWFS_DATA names the folder where --data does not."""
    with daemon(tmp_path):
        assert cli.main(["statistics", "--data", str(tmp_path)]) == 0
        assert capsys.readouterr().out.split() == ["values", "wal.records", "=", "7"]
        assert cli.main(["statistics", "--data", str(tmp_path), "--json"]) == 0
        assert capsys.readouterr().out == '{"values":{"wal.records":7}}\n'


def test_refusal_3_fault_4_findings_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of end has its exit code, and its error code in the object."""
    with daemon(tmp_path):
        for arguments, code, error in (
            (["statistics", "busy"], 3, "data-busy"),
            (["statistics", "broken"], 4, "brick-fault"),
            (["status"], 3, "unknown-verb"),
        ):
            assert cli.main([*arguments, "--data", str(tmp_path), "--json"]) == code
            assert json.loads(capsys.readouterr().out)["error"]["code"] == error
        assert cli.main(["fsck", "--data", str(tmp_path), "--json"]) == 1
        out, err = capsys.readouterr()
        assert (json.loads(out)["findings_total"], err) == (1, "")
        assert cli.main(["fsck", "--metadata-only", "--data", str(tmp_path)]) == 0


def test_fsck_without_a_daemon_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The request and the settings file reach the offline check; its findings make exit code 1."""
    seen: list[tuple[ServeOptions, FsckRequest]] = []

    def offline_fsck(options: ServeOptions, request: FsckRequest, show: Callable[[Progress], None]) -> FsckReport:
        show(Progress(1, 1, "x", "y"))
        seen.append((options, request))
        return BAD

    (tmp_path / "dwd.toml").write_text('protection = "Replica2"\n')
    with application(monkeypatch, offline_fsck=offline_fsck):
        assert cli.main(["fsck", "--data", str(tmp_path), "--metadata-only"]) == 1
    assert seen == [(ServeOptions(tmp_path, protection="Replica2", strict=False), FsckRequest(metadata_only=True))]
    assert "lost-segment" in capsys.readouterr().out


def test_version_with_and_without_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours always, the daemon's where one runs."""
    for running in (False, True):
        if running:
            with daemon(tmp_path):
                assert cli.main(["version", "--data", str(tmp_path), "--json"]) == 0
        else:
            assert cli.main(["version", "--data", str(tmp_path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["daemon"] == ("9.9.9" if running else None)


def test_config_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It needs no daemon, names settings and volume, and refuses a wrong key by name."""
    (tmp_path / "dwd.toml").write_text("bricks = 6\n")
    with application(monkeypatch, read_identity=lambda _data: "ab" * 16):
        assert cli.main(["config", "check", "--data", str(tmp_path), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["settings"], report["volume"], report["file_present"]) == ({"bricks": "6"}, "ab" * 16, True)
        (tmp_path / "dwd.toml").write_text("brciks = 6\n")
        assert cli.main(["config", "check", "--data", str(tmp_path)]) == 3
    err = capsys.readouterr().err
    assert "brciks" in err
    assert "dwd.toml" in err


def test_serve_gets_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of the command line reach the daemon, and what it returns is the exit code."""
    seen: list[ServeOptions] = []

    def serve(options: ServeOptions) -> int:
        seen.append(options)
        return 7

    with application(monkeypatch, serve=serve):
        assert (
            cli.main(["serve", "--data", str(tmp_path), "--brick", "/a", "--brick", "/b", "--metadata-mirrors", "2"])
            == 7
        )
    assert seen == [ServeOptions(tmp_path, brick_paths=(Path("/a"), Path("/b")), metadata_mirrors=2)]


def test_settings_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    """A wrong protection leaves no data folder behind, in the background too."""
    for extra in ([], ["--background"]):
        assert cli.main(["serve", "--data", str(tmp_path / "new"), "--protection", "RAID0", *extra]) == 3
    assert not (tmp_path / "new").exists()


def test_stop_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It returns when the process has ended; that none runs is success too."""
    program = (
        "import sys, trio\n"
        f"sys.path.insert(0, {str(TOP)!r})\n"
        "from pathlib import Path\n"
        "from dwd.adapters.unix_socket import open_listener, peer_of\n"
        "from dwd.gateways.admin import AdminGateway, serve_verb\n"
        "from dwd.wire.reports import StopReport\n"
        "from dwd.wire.verbs import STOP\n"
        "async def main():\n"
        "    asked = trio.Event()\n"
        "    async def stop(request, show):\n"
        "        asked.set()\n"
        "        return StopReport(was_running=True, pid=1)\n"
        "    gateway = AdminGateway([serve_verb(STOP, stop)], owner_uid=0, peer_of=peer_of,\n"
        "                           audit=lambda record: None, wall_clock_ns=lambda: 0)\n"
        "    async with open_listener(Path(sys.argv[1]), 'dwd.sock') as listener, trio.open_nursery() as nursery:\n"
        "        nursery.start_soon(gateway.run, listener)\n"
        "        print('ready', flush=True)\n"
        "        await asked.wait()\n"
        "        nursery.cancel_scope.cancel()\n"
        "    await trio.sleep(0.3)\n"
        "    Path(sys.argv[1], 'ended').touch()\n"
        "trio.run(main)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert cli.main(["stop", "--data", str(tmp_path), "--json"]) == 0
        assert (tmp_path / "ended").exists()
        assert json.loads(capsys.readouterr().out) == {"was_running": True, "pid": process.pid}
    assert cli.main(["stop", "--data", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"was_running": False, "pid": None}


def run_program(*arguments: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """`dwd` as a process, with `code` run before it."""
    program = f"import sys\nfrom dwd import cli\n{code}\nsys.exit(cli.main())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=TOP, env=os.environ | environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_a_bug_exits_70(tmp_path: Path) -> None:
    """A trace on stderr, an error object on stdout, and never 1: that means findings."""
    done = run_program("status", "--json", "--data", str(tmp_path), code="cli.open_admin = None")
    assert done.returncode == 70
    assert json.loads(done.stdout)["error"]["code"] == "bug"
    assert "Traceback" in done.stderr


def test_a_name_that_is_no_text_in_an_error(tmp_path: Path) -> None:
    """A data folder whose name is not UTF-8 and has escapes is shown escaped, in both forms, also in the C locale."""
    data = f"{tmp_path}/\udcff\x1b[2J"
    for extra in ((), ("--json",)):
        done = run_program("status", "--data", data, *extra, LC_ALL="C")
        assert done.returncode == 5
        text = json.loads(done.stdout)["error"]["message"] if extra else done.stderr
        assert r"\xff\x1b[2J" in text


def test_a_background_daemon_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error of the child, its code and its exit code, are those of the command that started it."""
    (tmp_path / "brick").write_text("a file is no brick")
    arguments = ["serve", "--background", "--json", "--data", str(tmp_path / "data"), "--protection", "None"]
    code = cli.main([*arguments, "--brick", str(tmp_path / "brick")])
    error = json.loads(capsys.readouterr().out)["error"]
    assert code == (4 if error["fault"] else 3)
    assert "brick" in error["message"]
    assert (tmp_path / "data/dwd.log").exists()


def test_usage_is_a_refusal() -> None:
    """Argparse does not end the process by itself."""
    with pytest.raises(Usage, match="dance"):
        cli.build_parser().parse_args(["dance"])


async def stopped(_request: StopRequest, _: ShowProgress) -> StopReport:
    """A handler that says it stops and does not."""
    return StopReport(was_running=True, pid=0)


def test_a_daemon_that_does_not_end_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The wait for its end is bounded."""
    monkeypatch.setattr(cli, "_STOP_S_MAX", 0.1)
    with daemon(tmp_path, (serve_verb(STOP, stopped),)):
        assert cli.main(["stop", "--data", str(tmp_path)]) == 5
    assert f"process {os.getpid()}" in capsys.readouterr().err
