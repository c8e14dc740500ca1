"""The store in memory: for tests, for simulation, and for overlays. Nothing of it survives the process.

Rules: the same answers as every other Store (tests/contract/test_store.py holds both to them); keys
order as bytes do. Pure.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sortedcontainers import SortedDict

_PAGE_ROWS: Final = 256  # copied at a time by range(), so that the map may change between two


class MemoryStore:
    """An ordered map of bytes to bytes. Implements ports.Store."""

    def __init__(self) -> None:
        self._rows: SortedDict[bytes, bytes] = SortedDict()

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        value: bytes | None = self._rows.get(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Set a value."""
        self._rows[key] = value

    def delete(self, key: bytes) -> None:
        """Remove a key; one that is not there is no error."""
        if key in self._rows:
            del self._rows[key]

    def range(self, start: bytes, end: bytes, limit: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, at most `limit` of them (0: all)."""
        rows = self._walk(start, end, min(limit, _PAGE_ROWS) or _PAGE_ROWS)
        return islice(rows, limit) if limit else rows

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """The row with the greatest key in [start, end), or None."""
        if start >= end:
            return None
        key = next(self._rows.irange(start, end, (True, False), reverse=True), None)
        return None if key is None else (key, self._rows[key])

    def _walk(self, start: bytes, end: bytes, page_rows: int) -> Iterator[tuple[bytes, bytes]]:
        """Page by page, each begun after the last key of the one before: what changed meanwhile cannot confuse it."""
        while start < end:
            page = [(key, self._rows[key]) for key in islice(self._rows.irange(start, end, (True, False)), page_rows)]
            yield from page
            if len(page) < page_rows:
                return
            start = page[-1][0] + b"\0"
