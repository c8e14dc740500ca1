"""Which files are worth fetching whole: those that are read in small pieces at random, again and again.

The kernel reads such a file page by page, and each page costs a request. After MISSES_LEAST of them the rest
of the file is fetched in windows and given to the kernel, which then asks no more. A file is fetched once
for each revision (the log index of its inode's last change, DESIGN D3).
"""

from collections.abc import Iterator
from typing import Final

from dwd.model.ids import InodeNumber, LogIndex
from dwd.model.units import GIB, MIB

WINDOW_BYTES: Final = 1 * MIB  # the most that one read may ask; a quarter of a segment
MISSES_LEAST: Final = 16  # small reads that found nothing: fewer may be a look at a header or an index
FILE_BYTES_MAX: Final = 1 * GIB  # pass over: of a larger file most would never be asked for
_FILES_MAX: Final = 1024  # remembered; the oldest is forgotten, and may be fetched once more


class ReadAround:
    """Counts misses by file."""

    def __init__(self, file_bytes_max: int = FILE_BYTES_MAX) -> None:
        self._file_bytes_max = file_bytes_max
        self._misses: dict[InodeNumber, tuple[LogIndex, int]] = {}

    def missed(self, number: InodeNumber, changed: LogIndex, size: int) -> bool:
        """A small read of a file found nothing cached; True once, when the file is to be fetched."""
        if not WINDOW_BYTES < size <= self._file_bytes_max:
            return False
        revision, count = self._misses.pop(number, (changed, 0))
        count = count + 1 if revision == changed else 1
        self._misses[number] = (changed, count)
        if len(self._misses) > _FILES_MAX:
            del self._misses[next(iter(self._misses))]
        return count == MISSES_LEAST


def windows(size: int) -> Iterator[tuple[int, int]]:
    """Offsets and lengths that cover a file."""
    for start in range(0, size, WINDOW_BYTES):
        yield start, min(WINDOW_BYTES, size - start)
