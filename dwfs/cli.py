"""The command line: `dwfs mount`, `dwfs umount`, `dwfs version`.

Rules: a report goes to stdout, an error to stderr; with --json both are one object on stdout. Exit
codes are stable (docs/OPERATIONS.md): scripts compare them. An error says what happened, to what, why, and
what to do. Anything that is neither Refusal nor Fault is a bug: a trace, and 70.
"""

import argparse
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn

import msgspec

from dwd.model.errors import BadConfig, DwError
from dwd.model.protection import parse_protection
from dwd.wire.shown import shown_name
from dwfs.background import MountFailed, is_fault, mount_in_background
from dwfs.config import VolumeOptions, default_data, parse_options
from dwfs.foreground import encodable, mount_in_foreground
from dwfs.preflight import absolute, check_can_mount
from dwfs.unmounting import unmount

OK: Final = 0
USAGE: Final = 2
REFUSED: Final = 3
FAULT: Final = 4
BUG: Final = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED: Final = 130  # as shells say SIGINT

_EPILOG: Final = """\
exit codes:
  0   done
  2   the command line cannot be understood
  3   refused: as asked, it cannot be done; asking again gives the same answer
  4   failed: something else failed us, and the message says what; trying again may help
  70  a bug of ours: a trace is on stderr
"""
_OPTIONS: Final = """\
options of -o: ro, noatime, relatime (the default), allow_other (the default for root), sync (every write and
change is durable before it returns), timeout=SECONDS (how long to wait for a daemon that does not answer: 30),
fsname=NAME, and dev, suid, exec, nodev, nosuid, noexec
"""


class _Mounted(msgspec.Struct, frozen=True):
    mountpoint: str
    data: str
    pid: int


class _Unmounted(msgspec.Struct, frozen=True):
    mountpoint: str


class _Version(msgspec.Struct, frozen=True):
    version: str


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str
    fault: bool


class _Failed(msgspec.Struct, frozen=True):
    error: _Error


class _Usage(BadConfig):
    """The command line cannot be understood."""

    code = "usage"


class _Parser(argparse.ArgumentParser):
    """Errors are ours to show, as JSON too."""

    def error(self, message: str) -> NoReturn:
        raise _Usage(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    if argv is None:
        sys.excepthook = _end_with_bug
    words = sys.argv[1:] if argv is None else list(argv)
    as_json = "--json" in words
    try:
        return _run(_parser().parse_args(words))
    except DwError as error:
        return _show_error(error, as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dwfs",
        description="Mount a DataWarehouse FS volume.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_mount(commands)
    umount = commands.add_parser("umount", help="unmount, when everything that was written is safe")
    umount.add_argument("mountpoint", type=Path, metavar="MOUNTPOINT")
    umount.add_argument("--lazy", action="store_true", help="take it away although it is in use, and do not wait")
    umount.add_argument("--json", action="store_true", help="one JSON object on stdout")
    version = commands.add_parser("version", help="show the version")
    version.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _add_mount(commands: "argparse._SubParsersAction[_Parser]") -> None:
    mount = commands.add_parser(
        "mount",
        help="mount; the volume and its daemon are made and started if they are not there",
        epilog=_OPTIONS + "\n" + _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    mount.add_argument("mountpoint", type=Path, metavar="MOUNTPOINT")
    mount.add_argument("--data", type=Path, metavar="DIR", help=f"the volume's folder (default {default_data()})")
    bricks = mount.add_mutually_exclusive_group()
    bricks.add_argument("--bricks", type=int, metavar="N", help="of a new volume: so many, in the data folder (6)")
    bricks.add_argument(
        "--brick", type=Path, action="append", default=[], metavar="DIR", help="of a new volume: a brick; once for each"
    )
    mount.add_argument("--protection", metavar="P", help="of a new volume: None, Replica2, Replica3, 4+2, ... (4+2)")
    mount.add_argument(
        "--metadata-mirrors", type=int, metavar="N", help="mirror the metadata on N bricks, also of one device"
    )
    mount.add_argument("-o", dest="options", action="append", default=[], metavar="OPT,...", help="see below")
    mount.add_argument("--foreground", action="store_true", help="do not return until it is unmounted; log to stderr")
    mount.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    mount.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _run(parsed: argparse.Namespace) -> int:
    if parsed.command == "mount":
        return _mount(parsed)
    if parsed.command == "umount":
        mountpoint = absolute(parsed.mountpoint)
        unmount(mountpoint, lazy=parsed.lazy)
        _show(_Unmounted(_shown(mountpoint)), "", as_json=parsed.json)
        return OK
    version = _program_version()
    _show(_Version(version), f"dwfs {version}", as_json=parsed.json)
    return OK


def _mount(parsed: argparse.Namespace) -> int:
    options = parse_options(_words(parsed.options), is_root=os.getuid() == 0)
    volume = _volume(parsed)
    mountpoint = check_can_mount(absolute(parsed.mountpoint), volume, options)
    if parsed.foreground:
        mount_in_foreground(mountpoint, volume, options, parsed.ready_fd)
        return OK
    pid = mount_in_background(mountpoint, volume.data, _arguments(parsed, volume, mountpoint))
    _show(_Mounted(_shown(mountpoint), _shown(volume.data), pid), "", as_json=parsed.json)
    return OK


def _volume(parsed: argparse.Namespace) -> VolumeOptions:
    if parsed.protection is not None:
        parse_protection(parsed.protection)
    if parsed.bricks is not None and parsed.bricks < 1:
        raise BadConfig(f"--bricks {parsed.bricks}: at least 1")
    data = (parsed.data or default_data()).expanduser().resolve()
    bricks = tuple(path.expanduser().resolve() for path in parsed.brick)
    if parsed.metadata_mirrors is not None and parsed.metadata_mirrors < 0:
        raise BadConfig(f"--metadata-mirrors {parsed.metadata_mirrors}: at least 0")
    return VolumeOptions(data, parsed.bricks, bricks, parsed.protection, parsed.metadata_mirrors)


def _arguments(parsed: argparse.Namespace, volume: VolumeOptions, mountpoint: Path) -> list[str]:
    """The same command for the process in the background, which stands elsewhere."""
    arguments = ["--data", str(volume.data)]
    if volume.bricks is not None:
        arguments += ["--bricks", str(volume.bricks)]
    for path in volume.brick_paths:
        arguments += ["--brick", str(path)]
    if volume.protection is not None:
        arguments += ["--protection", volume.protection]
    if volume.metadata_mirrors is not None:
        arguments += ["--metadata-mirrors", str(volume.metadata_mirrors)]
    for words in parsed.options:
        arguments += ["-o", words]
    return [*arguments, "--", str(mountpoint)]


def _words(groups: Sequence[str]) -> list[str]:
    return [word for group in groups for word in group.split(",") if word]


def _program_version() -> str:
    try:
        return importlib.metadata.version("datawarehouse-fs")
    except importlib.metadata.PackageNotFoundError:
        return "0+not-installed"  # run from its source folder


def _shown(path: Path) -> str:
    return shown_name(os.fsencode(path))


def _show(report: msgspec.Struct, text: str, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(report).decode())
    elif text:
        print(text)


def _show_error(error: DwError, *, as_json: bool) -> int:
    code = error.reported if isinstance(error, MountFailed) else error.code
    fault = is_fault(error)
    if as_json:
        print(msgspec.json.encode(_Failed(_Error(code, encodable(str(error)), fault))).decode())
    else:
        print(f"dwfs: {error} [{code}]", file=sys.stderr)
    if isinstance(error, _Usage):
        return USAGE
    return FAULT if fault else REFUSED


def _end_with_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show the trace and end now: a thread that waits for the kernel must not keep a mount process alive."""
    traceback.print_exception(kind, error, trace)
    if "--json" in sys.argv:
        print(msgspec.json.encode(_Failed(_Error("bug", encodable(f"{kind.__name__}: {error}"), fault=True))).decode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(BUG)
