"""`dwfs umount`: take a mount away, and wait until its process has flushed everything and ended."""

import shlex
import subprocess
from pathlib import Path
from typing import Final

from dwd.model.errors import Fault, Refusal
from dwfs.mounts import find_mount, wait_until_served_no_more

_FLUSH_S_MAX: Final = 330.0  # what app gives the last flush, and a little
_TYPES: Final = frozenset({"fuse.dwfs", "fuse"})


class NotMounted(Refusal):
    """There is no mount of ours at a path."""

    code = "not-mounted"


class MountBusy(Refusal):
    """Somebody uses the mount."""

    code = "mount-busy"


class StillFlushing(Fault):
    """It is unmounted, and its process has not sent everything yet."""

    code = "still-flushing"


def unmount(mountpoint: Path, *, lazy: bool) -> None:
    """Unmount, and wait until what was written is safe.

    Raises:
        NotMounted, MountBusy, StillFlushing: with what to do.
    """
    mount = find_mount(mountpoint)
    if mount is None or mount.type not in _TYPES:
        what = "nothing is mounted there" if mount is None else f"a file system of type {mount.type} is mounted there"
        raise NotMounted(f"{mountpoint}: {what}; `findmnt -t fuse.dwfs` lists the mounts of dwfs")
    _fusermount(mountpoint, lazy=lazy)
    if not lazy and not wait_until_served_no_more(mountpoint, _FLUSH_S_MAX):
        raise StillFlushing(
            f"{mountpoint} is unmounted, but its process still sends data after {_FLUSH_S_MAX:.0f} s; "
            f"see dwfs.log in the data folder ({mount.source})"
        )


def _fusermount(mountpoint: Path, *, lazy: bool) -> None:
    options = ["-u", "-z"] if lazy else ["-u"]
    try:
        done = subprocess.run(  # noqa: S603
            ["fusermount3", *options, "--", str(mountpoint)],  # noqa: S607
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise Fault(f"fusermount3 could not be run: {error.strerror}; install the package fuse3") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        if "busy" in said.lower():
            raise MountBusy(
                f"{mountpoint} is in use: `fuser -vm {shlex.quote(str(mountpoint))}` shows by whom; or add --lazy"
            )
        raise Fault(f"{mountpoint} was not unmounted: {said or f'fusermount3 ended with {done.returncode}'}")
