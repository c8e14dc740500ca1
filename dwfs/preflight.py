"""What is looked at before anything is mounted: each reason not to is one sentence, with its remedy."""

import errno
import os
import shutil
from pathlib import Path
from typing import Final

from dwd.model.errors import Refusal
from dwfs.config import SOCKET_NAME, VolumeOptions
from dwfs.mounts import MountPoint, find_mount

_FUSE_DEVICE: Final = Path("/dev/fuse")
_SOCKET_PATH_BYTES_MAX: Final = 107  # sun_path, less its NUL
_DEAD: Final = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


class CannotMount(Refusal):
    """The mount point or this machine is not fit for a mount."""

    code = "cannot-mount"


class NotMounted(Refusal):
    """There is no mount of ours at a path."""

    code = "not-mounted"


def absolute(path: Path) -> Path:
    """The path as mountinfo has it, without looking into the last component: it may be dead."""
    plain = Path(os.path.abspath(path))
    return plain.parent.resolve() / plain.name if plain.name else plain


def check_can_mount(mountpoint: Path, volume: VolumeOptions) -> Path:
    """Everything that can be known beforehand; the mount point, resolved.

    Raises:
        CannotMount: with the reason, and what to do.
    """
    _check_machine()
    _check_free(mountpoint, find_mount(mountpoint))
    resolved = mountpoint.resolve()
    _check_free(resolved, find_mount(resolved))
    _check_data(volume, resolved)
    return resolved


def _check_machine() -> None:
    if not _FUSE_DEVICE.exists():
        raise CannotMount(f"{_FUSE_DEVICE} is not there: modprobe fuse, or give the container this device")
    if not os.access(_FUSE_DEVICE, os.R_OK | os.W_OK):
        raise CannotMount(f"{_FUSE_DEVICE} may not be opened by this user: ask for the group that owns it")
    if shutil.which("fusermount3") is None:
        raise CannotMount("fusermount3 is not installed: install the package fuse3")


def _check_free(mountpoint: Path, mounted: MountPoint | None) -> None:
    try:
        is_directory = mountpoint.is_dir() if mounted is None else _is_alive_directory(mountpoint)
        exists = is_directory or mountpoint.exists()
    except OSError as error:
        if error.errno in _DEAD:
            raise CannotMount(
                f"{mountpoint} is a dead mount: its process is gone; free it with: dwfs umount {mountpoint}"
            ) from error
        raise CannotMount(f"{mountpoint} cannot be looked at: {error.strerror}") from error
    if mounted is not None and mounted.type.startswith("fuse"):
        raise CannotMount(
            f"{mountpoint} is mounted already ({mounted.type}, {mounted.source}); "
            f"unmount it first: dwfs umount {mountpoint}"
        )
    if not exists:
        raise CannotMount(f"{mountpoint} does not exist; make it: mkdir -p {mountpoint}")
    if not is_directory:
        raise CannotMount(f"{mountpoint} is not a directory; choose a directory to mount at")


def _is_alive_directory(mountpoint: Path) -> bool:
    """Path.is_dir() hides why it cannot tell."""
    os.stat(mountpoint)
    return mountpoint.is_dir()


def _check_data(volume: VolumeOptions, mountpoint: Path) -> None:
    if volume.data.is_relative_to(mountpoint):
        raise CannotMount(f"the data folder {volume.data} lies in the mount point; choose another with --data")
    if len(os.fsencode(volume.data / SOCKET_NAME)) > _SOCKET_PATH_BYTES_MAX:
        raise CannotMount(
            f"the data folder's path is too long for a socket: {volume.data}; "
            f"at most {_SOCKET_PATH_BYTES_MAX} bytes with /{SOCKET_NAME}"
        )
