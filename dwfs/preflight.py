"""What is looked at before anything is mounted: each reason not to is one sentence, with its remedy."""

import errno
import os
import shlex
import shutil
import stat
from pathlib import Path
from typing import Final

from dwd.model.errors import Refusal
from dwfs.config import MountOptions, VolumeOptions
from dwfs.mounts import MountPoint, find_mount

_FUSE_DEVICE: Final = Path("/dev/fuse")
_FUSE_CONF: Final = Path("/etc/fuse.conf")
_FOR_OTHERS: Final = "user_allow_other"  # in it: who is not root may allow others
_DEAD: Final = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


class CannotMount(Refusal):
    """The mount point or this machine is not fit for a mount."""

    code = "cannot-mount"


def absolute(path: Path) -> Path:
    """The path as mountinfo has it, without looking into the last component: it may be dead."""
    plain = Path(os.path.abspath(path))
    return plain.parent.resolve() / plain.name if plain.name else plain


def check_can_mount(mountpoint: Path, volume: VolumeOptions, options: MountOptions) -> Path:
    """Everything that can be known beforehand; the mount point, resolved.

    Raises:
        CannotMount: with the reason, and what to do.
    """
    _check_machine()
    _check_free(mountpoint, find_mount(mountpoint))
    resolved = mountpoint.resolve()
    _check_free(resolved, find_mount(resolved))
    _check_data(volume, resolved)
    if os.geteuid() != 0:
        _check_user(resolved, options)
    return resolved


def _check_machine() -> None:
    if not _FUSE_DEVICE.exists():
        raise CannotMount(f"{_FUSE_DEVICE} is not there: modprobe fuse, or give the container this device")
    if not os.access(_FUSE_DEVICE, os.R_OK | os.W_OK):
        raise CannotMount(f"{_FUSE_DEVICE} may not be opened by this user: ask for the group that owns it")
    if shutil.which("fusermount3") is None:
        raise CannotMount("fusermount3 is not installed: install the package fuse3")


def _check_free(mountpoint: Path, mounted: MountPoint | None) -> None:
    quoted = shlex.quote(str(mountpoint))
    if mounted is not None and _is_dead(mountpoint):
        raise CannotMount(f"{mountpoint} is a dead mount: its process is gone; free it with: dwfs umount {quoted}")
    if mounted is not None and mounted.type.startswith("fuse"):
        raise CannotMount(
            f"{mountpoint} is mounted already ({mounted.type}, {mounted.source}); "
            f"unmount it first: dwfs umount {quoted}"
        )
    try:
        mode = mountpoint.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise CannotMount(f"{mountpoint} does not exist; make it: mkdir -p {quoted}") from None
    except OSError as error:
        raise CannotMount(f"{mountpoint} cannot be looked at: {error.strerror}") from error
    if not stat.S_ISDIR(mode):
        raise CannotMount(f"{mountpoint} is not a directory; choose a directory to mount at")


def _is_dead(mountpoint: Path) -> bool:
    """Whether nobody serves it. Attributes would not tell: the kernel may have them still."""
    try:
        os.close(os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in _DEAD
    return False


def _check_data(volume: VolumeOptions, mountpoint: Path) -> None:
    if volume.data.is_relative_to(mountpoint):
        raise CannotMount(f"the data folder {volume.data} lies in the mount point; choose another with --data")


def _check_user(mountpoint: Path, options: MountOptions) -> None:
    """What fusermount3 asks of somebody who is not root."""
    found = mountpoint.stat()
    if not os.access(mountpoint, os.W_OK) or (found.st_mode & stat.S_ISVTX and found.st_uid != os.geteuid()):
        raise CannotMount(f"{mountpoint} is not yours: mount at a directory that this user owns")
    if options.allow_other and not _others_may_be_allowed():
        raise CannotMount(
            f"allow_other is for root only, unless {_FUSE_CONF} has a line {_FOR_OTHERS}; "
            "leave the option out, or let root add the line"
        )


def _others_may_be_allowed() -> bool:
    try:
        lines = _FUSE_CONF.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.strip() == _FOR_OTHERS for line in lines)
