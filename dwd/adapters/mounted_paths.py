"""A path on a mount as a path in the volume that is mounted there, by what the kernel says is mounted where.

Rules: links on the way are followed, the last is not. Nothing is asked of the file system but that.
"""

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

import attrs

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_TYPE: Final = "fuse.dwfs"
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


@attrs.frozen
class Mounted:
    """One line of mountinfo."""

    device: bytes  # major:minor
    root: bytes  # what of the file system is mounted there: not all, after a bind mount
    point: bytes
    type: str


def path_in_volume(path: bytes, mount_points: Collection[bytes], mountinfo: bytes | None = None) -> bytes | None:
    """The path from the volume's root; None if it is on none of the volume's mounts."""
    typed = os.path.abspath(path)
    parent, name = os.path.split(typed)
    real = os.path.join(os.path.realpath(parent), name)
    mounts = _parse(_MOUNTINFO.read_bytes() if mountinfo is None else mountinfo)
    ours = {mount.device for mount in mounts if mount.type == _TYPE and mount.point in mount_points}
    covering = [mount for mount in mounts if _below(real, mount.point) is not None]
    on = max(reversed(covering), key=lambda mount: len(mount.point), default=None)  # of two at one point the later
    if on is None or on.device not in ours:
        return None
    return b"/" + b"/".join(filter(None, (on.root.strip(b"/"), _below(real, on.point))))


def is_on_mount(path: bytes) -> bool:
    """Whether a path, which may be absent, is on a mount of dwfs: the file systems on the way are not asked."""
    typed = os.path.abspath(path)
    covering = [mount for mount in _parse(_MOUNTINFO.read_bytes()) if _below(typed, mount.point) is not None]
    on = max(reversed(covering), key=lambda mount: len(mount.point), default=None)
    return on is not None and on.type == _TYPE


def _below(path: bytes, point: bytes) -> bytes | None:
    """What follows a mount point in a path; None: the path is elsewhere."""
    if path == point:
        return b""
    prefix = point.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _parse(mountinfo: bytes) -> list[Mounted]:
    mounts = []
    for line in filter(None, mountinfo.split(b"\n")):
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        mounts.append(
            Mounted(
                fields[2], _unescaped(fields[3]), _unescaped(fields[4]), after.split(b" ")[0].decode(errors="replace")
            )
        )
    return mounts


def _unescaped(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), text)
