"""The durable store: an ordered overlay of what changed lately, in front of a SQLite file that is written behind.

Rules: all but write_flush(), quick_check() and close() belong to one thread, the owner's, and none of
that touches the disk but a read of a row that no layer in memory knows. A batch reaches the file whole,
with its log index, or not at all; what a crash takes from memory, the log puts again.

A read asks four places, the newest first: `pending` (changed since the last flush), `flushed` (the batch
of the last flush: being written, and afterwards kept as a cache until the next one), the cache of rows
read, the file. A removed key is a None in the first two, and hides the places behind. The cache never
holds a key of the first two: put() and delete() discard it there.
"""

from collections.abc import Iterator
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from typing import Final, Self

from sortedcontainers import SortedDict

from dwd.adapters.row_cache import RowCache
from dwd.adapters.sqlite_file import SqliteFile
from dwd.model.checks import invariant
from dwd.model.ids import LogIndex, VolumeId
from dwd.model.units import MIB
from dwd.ports import StoreStatistics

_CACHE_BYTES: Final = 24 * MIB  # about 80,000 inodes
_PAGE_ROWS: Final = 256  # merged at a time by range(): most folders are one page, and a page takes well under 1 ms


class _Flush(Enum):
    """Where a flush stands. NONE -> BEGUN -> WRITTEN -> NONE."""

    NONE = auto()
    BEGUN = auto()
    WRITTEN = auto()


class SqliteStore:
    """Implements ports.DurableStore."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._pending: SortedDict[bytes, bytes | None] = SortedDict()
        self._pending_bytes = 0
        self._flushed: SortedDict[bytes, bytes | None] = SortedDict()
        self._cache = RowCache(_CACHE_BYTES)
        self._flush = _Flush.NONE
        self._flush_index = self._applied = self._durable = file.applied_index
        self._inside_batch = False
        self._file_reads = self._flushes = self._flushed_rows = 0

    @classmethod
    def create(cls, path: Path, volume: VolumeId) -> None:
        """Make an empty store. Blocks. Raises VolumeMismatch if there is one, StoreFailed if the disk fails."""
        SqliteFile.create(path, volume)

    @classmethod
    def open(cls, path: Path, volume: VolumeId) -> Self:
        """Open a store as its last durable batch left it. Blocks.

        Raises:
            CorruptStore: it is missing, damaged or no store.
            FormatTooNew: a newer version wrote it.
            VolumeMismatch: it belongs to another volume.
            DataBusy: another process has it open.
            StoreFailed: the disk failed us.
        """
        return cls(SqliteFile.open(path, volume))

    @property
    def applied_index(self) -> LogIndex:
        """The last command whose effects are in the store."""
        return self._applied

    @property
    def durable_index(self) -> LogIndex:
        """The last command whose effects survive a power cut."""
        return self._durable

    @property
    def pending_rows(self) -> int:
        """Rows changed since the last flush began."""
        return len(self._pending)

    @property
    def pending_bytes(self) -> int:
        """Bytes of keys and values among them."""
        return self._pending_bytes

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        value: bytes | None
        if key in self._pending:
            value = self._pending[key]
        elif key in self._flushed:
            value = self._flushed[key]
        elif key in self._cache:
            value = self._cache.recall(key)
        else:
            self._file_reads += 1
            value = self._file.get(key)
            self._cache.remember(key, value)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Set a value."""
        self._change(key, value, len(value))

    def delete(self, key: bytes) -> None:
        """Remove a key; one that is not there is no error."""
        self._change(key, None, 0)

    def range(self, start: bytes, end: bytes, limit: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, at most `limit` of them (0: all)."""
        rows = self._walk(start, end, min(limit, _PAGE_ROWS) or _PAGE_ROWS, reverse=False)
        return islice(rows, limit) if limit else rows

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """The row with the greatest key in [start, end), or None."""
        return next(self._walk(start, end, 1, reverse=True), None)

    def mark_applied(self, index: LogIndex) -> None:
        """Say that every effect of the commands up to `index` has been put: a batch may end here."""
        invariant(index >= self._applied, "K1", f"commands are applied in order: {index} after {self._applied}")
        self._applied = index
        self._inside_batch = False

    def begin_flush(self) -> bool:
        """Set the pending batch apart for write_flush(); False if there is nothing to write."""
        invariant(self._flush is _Flush.NONE, "K2", f"one flush at a time: {self._flush}")
        invariant(not self._inside_batch, "K3", f"a batch ends with its index: rows were put after {self._applied}")
        if self._applied == self._durable:
            return False
        self._flushed, self._pending, self._pending_bytes = self._pending, SortedDict(), 0
        self._flush_index = self._applied
        self._flush = _Flush.BEGUN
        return True

    def write_flush(self) -> None:
        """Make that batch durable, its index with it. Blocks: for a worker thread.

        Raises:
            StoreFailed: it is not durable; the process must end.
        """
        invariant(self._flush is _Flush.BEGUN, "K2", f"a flush is written once, after it began: {self._flush}")
        self._file.write(self._flushed.items(), self._flush_index)
        self._flush = _Flush.WRITTEN

    def end_flush(self) -> None:
        """Take note that the batch is durable: durable_index rises."""
        invariant(self._flush is _Flush.WRITTEN, "K2", f"a flush ends after it was written: {self._flush}")
        self._durable = self._flush_index
        self._flushes += 1
        self._flushed_rows += len(self._flushed)
        self._flush = _Flush.NONE

    def quick_check(self) -> list[str]:
        """Read all of the file, and say what is wrong in it. Blocks; a flush may run meanwhile."""
        return self._file.check()

    def close(self) -> None:
        """Let go of the file. What is pending is dropped: flush first, or leave it to the log. Blocks."""
        self._file.close()

    def statistics(self) -> StoreStatistics:
        """Return an immutable snapshot."""
        return StoreStatistics(
            applied_index=self._applied,
            durable_index=self._durable,
            pending_rows=len(self._pending),
            pending_bytes=self._pending_bytes,
            cached_rows=len(self._cache),
            cached_bytes=self._cache.bytes_used,
            file_reads=self._file_reads,
            flushes=self._flushes,
            flushed_rows=self._flushed_rows,
        )

    def _change(self, key: bytes, value: bytes | None, length: int) -> None:
        pending = self._pending
        self._inside_batch = True
        if key in pending:
            before = pending[key]
            self._pending_bytes += length - (len(before) if before else 0)
        else:
            self._pending_bytes += len(key) + length
            self._cache.discard(key)
        pending[key] = value

    def _walk(self, start: bytes, end: bytes, rows_max: int, *, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Page by page, each begun past the last key of the one before: what changed meanwhile cannot confuse it."""
        while start < end:
            page, border = self._page(start, end, rows_max, reverse=reverse)
            yield from page
            if border is None:
                return
            start, end = (start, border) if reverse else (border + b"\0", end)
            rows_max = min(2 * rows_max, _PAGE_ROWS)

    def _page(
        self, start: bytes, end: bytes, rows_max: int, *, reverse: bool
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """Merge the next rows of three sources, up to the border within which all are known (None: to the end)."""
        sources = (
            self._file.page(start, end, rows_max, reverse=reverse),
            _overlay_page(self._flushed, start, end, rows_max, reverse=reverse),
            _overlay_page(self._pending, start, end, rows_max, reverse=reverse),
        )
        merged: dict[bytes, bytes | None] = {}
        for rows in sources:
            merged.update(rows)
        keys = sorted(merged, reverse=reverse)
        borders = [rows[-1][0] for rows in sources if len(rows) == rows_max]
        border = None if not borders else max(borders) if reverse else min(borders)
        if border is not None:
            keys = keys[: keys.index(border) + 1]
        return [(key, value) for key in keys if (value := merged[key]) is not None], border


def _overlay_page(
    overlay: SortedDict[bytes, bytes | None], start: bytes, end: bytes, rows_max: int, *, reverse: bool
) -> list[tuple[bytes, bytes | None]]:
    keys = overlay.irange(start, end, (True, False), reverse=reverse)
    return [(key, overlay[key]) for key in islice(keys, rows_max)]
