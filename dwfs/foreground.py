"""The mount process: runs the app until the mount ends, and tells whoever started it how that begins."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from dwd.model.errors import DwError, Refusal
from dwfs import app
from dwfs.config import MountOptions, VolumeOptions
from dwfs.mounts import hold_lock


class Started(msgspec.Struct, frozen=True):
    """What the mount process says through the pipe, once: it serves, or `error` says why not."""

    pid: int
    code: str = ""
    error: str = ""
    fault: bool = False


def mount_in_foreground(
    mountpoint: Path, volume: VolumeOptions, options: MountOptions, ready_fd: int | None = None
) -> None:
    """Mount, and serve until it is unmounted.

    Raises:
        DwError: it cannot be mounted.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    def ready() -> None:
        _tell(ready_fd, Started(os.getpid()))

    try:
        with hold_lock(mountpoint):
            _run(mountpoint, volume, options, ready)
    except DwError as error:
        _tell(ready_fd, Started(os.getpid(), error.code, encodable(str(error)), not isinstance(error, Refusal)))
        raise


def encodable(text: str) -> str:
    """Text that may name a path: bytes in it that are no UTF-8, escaped."""
    return text.encode(errors="backslashreplace").decode()


def _run(mountpoint: Path, volume: VolumeOptions, options: MountOptions, ready: Callable[[], None]) -> None:
    """Trio wraps what tasks raise in groups; a Refusal or Fault is one error, said once. What is left is a bug."""
    try:
        trio.run(app.run, mountpoint, volume, options, ready)
    except BaseExceptionGroup as group:
        errors, others = group.split(DwError)
        if others is not None and others.split(KeyboardInterrupt)[1] is None:
            raise KeyboardInterrupt from None
        if others is not None or errors is None:
            raise
        raise _first(errors) from None


def _first(group: BaseExceptionGroup[DwError]) -> DwError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _tell(ready_fd: int | None, started: Started) -> None:
    if ready_fd is None:
        return
    try:
        os.write(ready_fd, msgspec.json.encode(started))
        os.close(ready_fd)
    except OSError:
        return  # nobody waits any more, or it was told before
