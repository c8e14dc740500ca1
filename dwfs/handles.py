"""Open files and directories, by the number that the kernel has for each.

A background store that failed is told once to every handle that was open then, as the kernel's errseq
does it: at its next write, fsync or close.
"""

import os
from typing import Final, TypeVar

import attrs

from dwd.model.ids import InodeNumber
from dwfs.cache.pages import DirectoryPage
from dwfs.calls import Call

_DURABLE_FLAGS: Final = os.O_SYNC | os.O_DSYNC


@attrs.define(eq=False)
class FileHandle:
    """One open file."""

    number: InodeNumber
    append: bool
    writes: bool
    durable: bool  # every write is on stable storage before it returns
    errors_seen: int
    atime_due: bool = True  # the next read looks whether the access time changes


@attrs.define(eq=False)
class DirectoryHandle:
    """One open directory, the page of it that was read last, and the next, asked for already."""

    number: InodeNumber
    page: DirectoryPage | None = None
    ahead: Call | None = None
    forgotten: int = 0  # times that the mount had forgotten all it knew when the page was asked for


@attrs.define(eq=False)
class _OpenFile:
    """What all handles of one file share."""

    handles: int = 0
    writers: int = 0
    errors: int = 0  # rises with every failure
    errno: int = 0  # of the last


_Handle = TypeVar("_Handle", FileHandle, DirectoryHandle)


class Handles:
    """The tables of both kinds."""

    def __init__(self) -> None:
        self._next = 1
        self._files: dict[int, FileHandle] = {}
        self._directories: dict[int, DirectoryHandle] = {}
        self._open: dict[InodeNumber, _OpenFile] = {}

    def open_file(self, number: InodeNumber, flags: int, *, durable: bool) -> int:
        """Add an open file."""
        shared = self._open.setdefault(number, _OpenFile())
        shared.handles += 1
        handle = FileHandle(
            number,
            append=bool(flags & os.O_APPEND),
            writes=flags & os.O_ACCMODE != os.O_RDONLY,
            durable=durable or bool(flags & _DURABLE_FLAGS),
            errors_seen=shared.errors,
        )
        shared.writers += handle.writes
        return self._add(self._files, handle)

    def file(self, fh: int) -> FileHandle:
        """An open file."""
        return self._files[fh]

    def close_file(self, fh: int) -> FileHandle:
        """Remove an open file."""
        handle = self._files.pop(fh)
        shared = self._open[handle.number]
        shared.handles -= 1
        shared.writers -= handle.writes
        if not shared.handles:
            del self._open[handle.number]
        return handle

    def is_open(self, number: InodeNumber) -> bool:
        """Whether a file is open."""
        return number in self._open

    def is_open_for_writing(self, number: InodeNumber) -> bool:
        """Whether a file's bytes may change through a descriptor."""
        shared = self._open.get(number)
        return shared is not None and shared.writers > 0

    def open_directory(self, number: InodeNumber) -> int:
        """Add an open directory."""
        return self._add(self._directories, DirectoryHandle(number))

    def directory(self, fh: int) -> DirectoryHandle:
        """An open directory."""
        return self._directories[fh]

    def directories_of(self, number: InodeNumber) -> list[DirectoryHandle]:
        """The handles of one directory."""
        return [handle for handle in self._directories.values() if handle.number == number]

    def close_directory(self, fh: int) -> DirectoryHandle:
        """Remove an open directory."""
        return self._directories.pop(fh)

    def failed(self, number: InodeNumber, errno: int) -> bool:
        """Bytes of a file could not be stored; False when nobody has it open, and nobody will hear of it."""
        shared = self._open.get(number)
        if shared is None:
            return False
        shared.errors += 1
        shared.errno = errno
        return True

    def take_error(self, handle: FileHandle) -> int:
        """The errno of a failure that this handle has not heard of, or 0."""
        shared = self._open[handle.number]
        if handle.errors_seen == shared.errors:
            return 0
        handle.errors_seen = shared.errors
        return shared.errno

    def _add(self, table: dict[int, _Handle], handle: _Handle) -> int:
        fh = self._next
        self._next += 1
        table[fh] = handle
        return fh
