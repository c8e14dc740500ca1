"""What the kernel says is mounted where, and which process serves it.

The process of a mount keeps a lock on a file that is named after its mount point, so that `dwfs
umount` can wait until everything is flushed: umount(2) itself does not.
"""

import fcntl
import hashlib
import os
import re
import time
from pathlib import Path
from typing import IO, Final

import attrs

from dwd.model.errors import BadConfig

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_POLL_S: Final = 0.02
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


@attrs.frozen
class MountPoint:
    """One line of mountinfo."""

    device: str  # major:minor
    path: Path
    type: str
    source: str


def list_mounts() -> list[MountPoint]:
    """All mounts that this process sees; a later one lies over an earlier one.

    The kernel escapes spaces and line ends; what else Python takes for one (U+2028, U+00A0) is part of a name.
    """
    return [
        _parse(line) for line in _MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape").split("\n") if line
    ]


def find_mount(path: Path) -> MountPoint | None:
    """What is mounted at a path, which is not looked into: it may be dead."""
    found = [mount for mount in list_mounts() if mount.path == path]
    return found[-1] if found else None


def device_of_mount(path: Path) -> str:
    """The device number of what is mounted at a path; empty when nothing is."""
    mount = find_mount(path)
    return mount.device if mount else ""


def hold_lock(path: Path) -> IO[bytes]:
    """Say that this process serves a mount point, for as long as the file is open.

    Raises:
        BadConfig: the lock's folder cannot be made.
    """
    lock = _lock_path(path)
    try:
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = lock.open("ab")
    except OSError as error:
        raise BadConfig(f"{lock}: cannot be made: {error.strerror}") from error
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def wait_until_served_no_more(path: Path, seconds: float) -> bool:
    """Wait until the process that serves a mount point has ended; False if it has not."""
    deadline = time.monotonic() + seconds
    try:
        file = _lock_path(path).open("ab")
    except OSError:
        return True
    with file:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_POLL_S)
                continue
            _lock_path(path).unlink(missing_ok=True)
            return True
    return False


def _lock_path(path: Path) -> Path:
    folder = Path("/run/dwfs") if os.getuid() == 0 else _user_folder()
    return folder / (hashlib.sha256(os.fsencode(path)).hexdigest()[:32] + ".lock")


def _user_folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "dwfs" if runtime else Path.home() / ".cache/dwfs"


def _parse(line: str) -> MountPoint:
    """Fields up to " - ", then type, source and options."""
    before, _, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    return MountPoint(fields[2], Path(_unescaped(fields[4])), rest[0], _unescaped(rest[1]))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
