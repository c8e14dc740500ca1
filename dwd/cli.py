"""The command line, made from the verb registry: `dwd <verb> [--data DIR] [--json]`, and `dwd serve`.

Rules: a report goes to stdout, an error to stderr; with --json both are one object on stdout. Exit
codes are stable (docs/OPERATIONS.md). Anything that is neither Refusal nor Fault is a bug: a trace, and 70.
"""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

import attrs
import msgspec

from dwd.adapters.admin_client import AdminConnection, NotRunning, Process, open_admin
from dwd.adapters.background import start_background
from dwd.adapters.mounted_paths import path_in_volume
from dwd.config import CONFIG_NAME, ServeOptions, default_data, program_version, with_config
from dwd.gateways.arguments import NotConfirmed, Parser, Usage, add_common, add_verbs, request_of
from dwd.gateways.terminal import (
    confirm,
    console,
    failure_json,
    print_failure,
    print_report,
    progress_bar,
    report_json,
)
from dwd.model.errors import DwError, NotPermitted, Unreachable
from dwd.wire.admin import ADMIN_PROTOCOL, Failed, Progress, failed
from dwd.wire.remedies import REMEDIES
from dwd.wire.reports import ConfigReport, Report, StartReport, StopReport, VersionReport
from dwd.wire.shown import read_name, shown_name
from dwd.wire.verb import AnyVerb, PathKind, Request
from dwd.wire.verbs import (
    CONFIG_CHECK,
    FSCK,
    STATUS,
    STOP,
    VERBS,
    VERSION,
    FsckRequest,
    StatusRequest,
)

OK: Final = 0
FINDINGS: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
FAULT: Final = 4
NOT_RUNNING: Final = 5
BUG: Final = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED: Final = 130  # as shells say SIGINT
READER_GONE: Final = 141  # as shells say SIGPIPE

_EXIT_CODES: Final[Mapping[str, int]] = {
    Usage.code: USAGE,
    NotRunning.code: NOT_RUNNING,
    Unreachable.code: NOT_RUNNING,
    "bug": BUG,
}
_EPILOG: Final = """\
exit codes:
  0  done                       4  a disk, a file or the daemon failed
  1  done, and there are findings (fsck, scrub)
  2  wrong usage                5  the daemon is not running or does not answer
  3  refused: nothing changed   70 a bug of ours
With --json every answer is one JSON object on stdout, errors too: {"error": {"code", "message", "remedy", "fault"}}.
Data folder: --data, else $DWFS_DATA, else ~/.local/share/dwfs.
"""
_SERVE: Final = "serve"  # not a verb: it makes the daemon that verbs ask
_STOP_S_MAX: Final = 60.0
_START_S_MAX: Final = 120.0
_START_POLL_S: Final = 0.05


@attrs.frozen
class Invocation:
    """A verb as it was typed."""

    verb: AnyVerb
    request: Request
    data: Path
    show: Callable[[Progress], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what it returns is the exit code."""
    if arguments is None:
        arguments = sys.argv[1:]
        sys.excepthook = _end_with_bug
    as_json = "--json" in arguments  # also for what goes wrong before the arguments are understood
    try:
        return _run(arguments, as_json=as_json)
    except DwError as error:
        return _fail(failed(error), as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the last flush fails once more
        return READER_GONE


def _run(arguments: Sequence[str], *, as_json: bool) -> int:
    parsed = build_parser().parse_args(arguments)
    data = Path(parsed.data) if parsed.data else default_data()
    if parsed.verb == _SERVE:
        return _serve(parsed, data, as_json=as_json)
    verb = VERBS[parsed.verb]
    perform = _PERFORMED_HERE.get(verb.name, _ask)
    request = request_of(verb, parsed, partial(_complete, data))
    if request.endangers and not parsed.yes:
        refused = _ask_first(Invocation(verb, request, data, _silent), as_json=as_json)
        if refused is not None:
            return refused
    if as_json or not verb.streams:
        return _show(perform(Invocation(verb, request, data, _silent)), as_json=as_json)
    with progress_bar(console(stderr=True), verb.name) as show:
        answer = perform(Invocation(verb, request, data, show))
    return _show(answer, as_json=as_json)


def _complete(data: Path, kind: PathKind, typed: str) -> str:
    """What was typed as a path, as the daemon is to read it. Raises Usage."""
    raw = os.fsencode(typed)
    if kind is PathKind.FOLDER:
        return shown_name(os.path.abspath(raw))
    with open_admin(data) as connection:
        status = connection.call(STATUS, StatusRequest(), _silent)
    labels = () if isinstance(status, Failed) else (mount.label for mount in status.mounts)
    found = path_in_volume(raw, [read_name(label) for label in labels])
    if found is None and not raw.startswith(b"/"):
        raise Usage(f"{shown_name(raw)} is on no mount of this volume; from the volume's root, begin with /")
    return shown_name(raw if found is None else found)


def _ask_first(invocation: Invocation, *, as_json: bool) -> int | None:
    """Show what it would do, and have a person say yes; None: it is to be done. Raises NotConfirmed."""
    command = f"dwd {invocation.verb.name}"
    if as_json or not sys.stdin.isatty():
        raise NotConfirmed(f"{command} may cost bytes or their protection, and nobody can be asked: give --yes")
    would = _ask(attrs.evolve(invocation, request=msgspec.structs.replace(invocation.request, dry_run=True)))
    if isinstance(would, Failed):
        return _fail(would, as_json=False)
    print_report(console(stderr=True), would)
    if not confirm(console(stderr=True), f"{command}: type yes to do it"):
        raise NotConfirmed(f"{command}: nothing was done")
    return None


def _show(answer: Report | Failed, *, as_json: bool) -> int:
    if isinstance(answer, Failed):
        return _fail(answer, as_json=as_json)
    if as_json:
        print(report_json(answer))
    else:
        print_report(console(), answer)
    sys.stdout.flush()
    return OK if answer.clean else FINDINGS


def _fail(failure: Failed, *, as_json: bool) -> int:
    if as_json:
        print(failure_json(failure), flush=True)
    else:
        print_failure(console(stderr=True), "dwd", failure)
    return _EXIT_CODES.get(failure.code, FAULT if failure.fault else REFUSED)


def _end_with_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show the trace and end now. Python's own exit code would be 1: findings."""
    traceback.print_exception(kind, error, trace)
    if "--json" in sys.argv:
        print(failure_json(Failed("bug", f"{kind.__name__}: {error}", REMEDIES["bug"], fault=True)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(BUG)


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="dwd",
        description="The storage daemon of DataWarehouse FS, and what can be asked of it.",
        epilog=_EPILOG,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    serve = commands.add_parser(_SERVE, help="run the daemon", description="Run the daemon of a data folder.")
    serve.set_defaults(verb=_SERVE)
    add_common(serve)
    bricks = serve.add_mutually_exclusive_group()
    bricks.add_argument("--bricks", type=int, metavar="N", help="of a new volume: so many bricks in the data folder")
    bricks.add_argument(
        "--brick", action="append", metavar="DIR", help="of a new volume: a brick; give it once for each"
    )
    serve.add_argument("--protection", metavar="P", help="of a new volume: None, Replica2, Replica3, 4+2, ...")
    serve.add_argument(
        "--metadata-mirrors", type=int, metavar="N", help="mirror the metadata on N bricks, also of one device"
    )
    serve.add_argument("--existing", action="store_true", help="never make a new volume")
    serve.add_argument("--background", action="store_true", help="return once it serves; its log is DATA/dwd.log")
    add_verbs(commands, VERBS)
    return parser


# ---- serve ----


def _serve(parsed: argparse.Namespace, data: Path, *, as_json: bool) -> int:
    given = ServeOptions(
        data=data,
        bricks=parsed.bricks,
        brick_paths=tuple(map(Path, parsed.brick or ())),
        protection=parsed.protection,
        metadata_mirrors=parsed.metadata_mirrors,
        existing=parsed.existing,
    )
    options = with_config(given)  # refused here, before anything is made
    if parsed.background:
        return _show(_serve_in_background(options), as_json=as_json)
    from dwd.app import serve  # noqa: PLC0415 - the daemon's modules take longer to load than a verb takes

    return serve(options)


def _serve_in_background(options: ServeOptions) -> Report | Failed:
    daemon = start_background(options.data, _arguments(options))
    deadline = time.monotonic() + _START_S_MAX
    while time.monotonic() < deadline:
        failure = daemon.failure()
        if failure is not None:
            return failure
        if _serves(options.data, daemon.pid):
            return StartReport(
                pid=daemon.pid, data=shown_name(os.fsencode(options.data)), log=shown_name(os.fsencode(daemon.log))
            )
        time.sleep(_START_POLL_S)
    raise Unreachable(f"the daemon, process {daemon.pid}, does not serve after {_START_S_MAX:.0f} s; see {daemon.log}")


def _serves(data: Path, pid: int) -> bool:
    try:
        with open_admin(data) as connection:
            answer = connection.call(STATUS, StatusRequest(), _silent)
    except Unreachable:
        return False
    return not isinstance(answer, Failed) and answer.pid == pid and answer.state != "starting"


def _arguments(options: ServeOptions) -> list[str]:
    """What says the same on a command line."""
    arguments = ["--data", str(options.data)]
    if options.bricks is not None:
        arguments += ["--bricks", str(options.bricks)]
    for path in options.brick_paths:
        arguments += ["--brick", str(path)]
    if options.protection is not None:
        arguments += ["--protection", options.protection]
    if options.metadata_mirrors is not None:
        arguments += ["--metadata-mirrors", str(options.metadata_mirrors)]
    return [*arguments, "--existing"] if options.existing else arguments


# ---- verbs that do more than ask the daemon ----


def _ask(invocation: Invocation) -> Report | Failed:
    with open_admin(invocation.data) as connection:
        return connection.call(invocation.verb, invocation.request, invocation.show)


def _version(invocation: Invocation) -> Report | Failed:
    ours = VersionReport(version=program_version(), admin_protocol=ADMIN_PROTOCOL)
    try:
        with open_admin(invocation.data) as connection:
            theirs = connection.call(VERSION, invocation.request, invocation.show)
    except (NotRunning, NotPermitted):
        return ours
    return theirs if isinstance(theirs, Failed) else msgspec.structs.replace(ours, daemon=theirs.version)


def _stop(invocation: Invocation) -> Report | Failed:
    """Ask it to end, and wait for its end; that there is none is as good."""
    try:
        with open_admin(invocation.data) as connection:
            process = Process(connection.pid)
            answer = _asked_to_stop(connection, invocation)
    except NotRunning:
        return StopReport(was_running=False, pid=None)
    if isinstance(answer, Failed):
        return answer
    if not process.wait_ended(_STOP_S_MAX):
        raise Unreachable(f"the daemon, process {process.pid}, has not ended after {_STOP_S_MAX:.0f} s")
    return StopReport(was_running=True, pid=process.pid)


def _asked_to_stop(connection: AdminConnection, invocation: Invocation) -> Report | Failed | None:
    """The answer, or None: it may end before it answered."""
    try:
        return connection.call(STOP, invocation.request, invocation.show)
    except Unreachable:
        return None


def _fsck(invocation: Invocation) -> Report | Failed:
    """In the daemon, or here when there is none: it then holds the folder's lock as a daemon would."""
    try:
        return _ask(invocation)
    except NotRunning:
        from dwd.app import offline_fsck  # noqa: PLC0415 - see _serve

        request = msgspec.convert(invocation.request, FsckRequest)
        return offline_fsck(with_config(ServeOptions(invocation.data)), request, invocation.show)


def _config_check(invocation: Invocation) -> Report | Failed:
    from dwd.app import read_identity  # noqa: PLC0415 - see _serve

    options = with_config(ServeOptions(invocation.data))
    file = options.data / CONFIG_NAME
    return ConfigReport(
        data=shown_name(os.fsencode(options.data)),
        file=shown_name(os.fsencode(file)),
        file_present=file.exists(),
        settings=options.settings(),
        volume=read_identity(options.data),
    )


_PERFORMED_HERE: Final[Mapping[str, Callable[[Invocation], Report | Failed]]] = {
    VERSION.name: _version,
    STOP.name: _stop,
    FSCK.name: _fsck,
    CONFIG_CHECK.name: _config_check,
}


def _silent(_: Progress) -> None:
    """Show no progress."""
