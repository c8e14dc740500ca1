"""Write and read files around the kernel's page cache: for what is written once, or read, in large pieces.

Through the cache such bytes cost the kernel several times the work, and take the memory of what is read. The price is
that they are read from the disk when they are read. Rules: a disk takes only whole blocks from memory that begins at
one, so what is to be written is gathered first, in memory that is used again. Any thread may call. These raise OSError.
"""

import ctypes
import errno
import mmap
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

DIRECT_BYTES_MIN: Final = 256 * 1024  # of a file: less is written in no time, and often read soon
BLOCK_BYTES: Final = 4096  # no disk has larger ones
_KEPT_MAX: Final = 4  # buffers of one brick, each as long as a shard's file: one for each write at a time


def can_go_around(path: Path) -> bool:
    """Whether the file system of a file has a way around the page cache; nothing is written to find out."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


class Staging:
    """Where files are gathered."""

    def __init__(self) -> None:
        self._free: deque[mmap.mmap] = deque(maxlen=_KEPT_MAX)

    def write(self, fd: int, parts: Sequence[bytes | memoryview]) -> None:
        """Write all of an empty file that was opened with O_DIRECT."""
        length = sum(map(len, parts))
        end = length + -length % BLOCK_BYTES
        buffer = self._take(end)
        with memoryview(buffer) as view:
            _gather(view[:end], parts)
            _write_blocks(fd, view[:end])
        self._free.append(buffer)
        if end > length:
            os.ftruncate(fd, length)

    def _take(self, length: int) -> mmap.mmap:
        try:
            buffer = self._free.pop()
        except IndexError:
            return mmap.mmap(-1, length)
        return buffer if len(buffer) >= length else mmap.mmap(-1, length)


def _gather(view: memoryview, parts: Sequence[bytes | memoryview]) -> None:
    at = 0
    for part in parts:
        view[at : at + len(part)] = part
        at += len(part)
    view[at:] = bytes(len(view) - at)


def _write_blocks(fd: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = os.pwrite(fd, view[done:], done)
        done += count - count % BLOCK_BYTES
        if count < BLOCK_BYTES:
            raise OSError(f"a disk took {count} bytes of a block")


def fill_directly(path: Path, parts: Sequence[memoryview]) -> int:
    """Fill parts that are whole blocks of aligned memory, from the start of a file; how many bytes there were."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        return os.preadv(fd, parts, 0)
    finally:
        os.close(fd)


def is_aligned(view: memoryview) -> bool:
    """Whether writable memory begins at a block."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view)) % BLOCK_BYTES == 0
