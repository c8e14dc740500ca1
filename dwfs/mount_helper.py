"""The helper that mount(8) runs for `-t fuse.dwfs`, and so for /etc/fstab: its arguments become those of `dwfs mount`.

Rule: an option is dropped only if it says nothing to a file system. Whatever is left goes to `dwfs mount`, which
refuses what it does not know; an option that restricts (ro, nosuid, nodev, noexec) is never dropped.

The default folder is best written `dwfs#`: mount(8) turns a plain `dwfs` into a path where a file of that name lies.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import attrs

from dwfs import cli

DEFAULT_SPEC: Final = "dwfs"  # in place of a folder: the default one
EXIT_MOUNT_FAILURE: Final = 32  # the one that mount(8) documents

_FOR_MOUNT_ONLY: Final = frozenset(
    {"auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group", "loud", "silent"}
)
_AS_IT_IS_ANYWAY: Final = frozenset({"rw", "defaults", "exec", "async"})
_FOR_OTHERS_PREFIXES: Final = ("x-", "X-", "comment=", "user=", "uhelper=", "helper=")


@attrs.frozen
class MountRequest:
    """What mount(8) asks of a helper."""

    spec: str
    mountpoint: str
    options: tuple[str, ...]
    fake: bool


def parse(argv: Sequence[str]) -> MountRequest:
    """Read `SPEC MOUNTPOINT [-sfnv] [-t TYPE] [-o OPTIONS]`; argparse ends the process if it is something else."""
    parser = argparse.ArgumentParser(prog="mount.fuse.dwfs", description="Called by mount(8); see dwfs mount --help.")
    parser.add_argument("spec", help="the data folder, dwfs#FOLDER, or dwfs# for the default folder")
    parser.add_argument("mountpoint")
    parser.add_argument("-o", dest="options", action="append", default=[], help="options, separated by commas")
    parser.add_argument("-f", dest="fake", action="store_true", help="do all but mount")
    for letter, meaning in (
        ("s", "unknown options are refused all the same"),
        ("n", "no mtab"),
        ("v", "no more is said"),
    ):
        parser.add_argument(f"-{letter}", action="store_true", help=f"accepted: {meaning}")
    parser.add_argument("-t", help="accepted: the type that mount(8) looked this helper up by")
    parsed = parser.parse_args(argv)
    options = tuple(option for group in parsed.options for option in group.split(",") if option)
    return MountRequest(spec=parsed.spec, mountpoint=parsed.mountpoint, options=options, fake=parsed.fake)


def concerns_file_system(option: str) -> bool:
    """Whether `dwfs mount` must hear of it."""
    if option in _FOR_MOUNT_ONLY or option in _AS_IT_IS_ANYWAY:
        return False
    return not option.startswith(_FOR_OTHERS_PREFIXES)


def data_folder(spec: str) -> str | None:
    """The folder that the first field of fstab names; None is the default one."""
    folder = spec.removeprefix(f"{DEFAULT_SPEC}#")
    return None if folder in {"", DEFAULT_SPEC} else folder


def dwfs_arguments(request: MountRequest) -> list[str]:
    """The same request in the words of `dwfs`."""
    arguments = ["mount"]
    folder = data_folder(request.spec)
    if folder is not None:
        arguments += ["--data", folder]
    options = [option for option in request.options if concerns_file_system(option)]
    if options:
        arguments += ["-o", ",".join(options)]
    return [*arguments, "--", request.mountpoint]


def main(argv: Sequence[str] | None = None) -> int:
    """Mount as mount(8) asks; `dwfs mount` says what is wrong, and the exit status is one of mount(8)'s."""
    request = parse(sys.argv[1:] if argv is None else argv)
    if request.fake:
        return 0
    return 0 if cli.main(dwfs_arguments(request)) == 0 else EXIT_MOUNT_FAILURE
