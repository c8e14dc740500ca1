"""Files that survive a power cut: written, synced, and their names synced too. These raise OSError."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from dwd.adapters.direct_files import Staging

_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700


def create_file(path: Path, parts: Sequence[bytes | memoryview], staging: Staging | None = None) -> None:
    """Write a new file under its final name; it and its name are durable when this returns.

    With `staging`, around the page cache. A failure leaves no file behind, unless the machine stops: what reads it
    must be able to tell.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(path, flags if staging is None else flags | os.O_DIRECT, _FILE_MODE)
    try:
        try:
            if staging is None:
                _write_all(fd, parts)
            else:
                staging.write(fd, parts)
            os.fdatasync(fd)
        finally:
            os.close(fd)
        sync_directory(path.parent)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise


def replace_file(path: Path, content: bytes) -> None:
    """Make `content` what a file holds: after a power cut it holds that, or what it held before."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    create_file(new, [content])
    new.rename(path)
    sync_directory(path.parent)


def make_directories(path: Path) -> None:
    """Make a directory, and those above it that are missing; their names are durable when this returns."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, parts: Sequence[bytes | memoryview]) -> None:
    pending = [memoryview(part) for part in parts if len(part)]
    offset = 0
    while pending:
        written = os.pwritev(fd, pending, offset)
        offset += written
        while pending and written >= len(pending[0]):
            written -= len(pending.pop(0))
        if pending:
            pending[0] = pending[0][written:]
