"""The durable store as it was at one moment, read-only, while the store itself goes on.

It must be opened in the process that owns the store. A long life lets SQLite's log grow.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dwd.adapters.sqlite_file import SNAPSHOT_CACHE, applied_index_of, connect_snapshot, unseal
from dwd.model.checks import InvariantViolated
from dwd.model.errors import CorruptStore
from dwd.model.ids import LogIndex

_PAGE_ROWS: Final = 512
_GET: Final = "SELECT v FROM kv WHERE k = ?"
_PAGE: Final = "SELECT k, v FROM kv WHERE k >= ? AND k < ? ORDER BY k LIMIT ?"
_LAST: Final = "SELECT k, v FROM kv WHERE k >= ? AND k < ? ORDER BY k DESC LIMIT 1"


class SqliteSnapshot:
    """A namespace Store that cannot be changed."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        row = self._connection.execute(_GET, (key,)).fetchone()
        return None if row is None else unseal(self._path, key, row[0])

    def put(self, key: bytes, value: bytes) -> None:
        """Never."""
        raise InvariantViolated(f"T9: a snapshot was changed: {key!r}, {len(value)} bytes")

    def delete(self, key: bytes) -> None:
        """Never."""
        raise InvariantViolated(f"T9: a snapshot was changed: {key!r}")

    def range(self, start: bytes, end: bytes, limit: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order."""
        left = limit or -1
        while left:
            page = _PAGE_ROWS if left < 0 else min(left, _PAGE_ROWS)
            rows = self._connection.execute(_PAGE, (start, end, page)).fetchall()
            for key, sealed in rows:
                yield key, unseal(self._path, key, sealed)
            if len(rows) < page:
                return
            left -= len(rows) if left > 0 else 0
            start = rows[-1][0] + b"\0"

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """The row with the greatest key in [start, end), or None."""
        row = self._connection.execute(_LAST, (start, end)).fetchone()
        return None if row is None else (row[0], unseal(self._path, row[0], row[1]))


def copy_state(path: Path, target: Path) -> LogIndex:
    """Write what the last flush left into a new file, and say which command was the last in it. Blocks.

    The file is not synced yet.

    Raises:
        CorruptStore: the store cannot be read, or the copy not be written.
    """
    try:
        with closing(connect_snapshot(path, SNAPSHOT_CACHE)) as connection:
            connection.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(target),))  # a name is bytes
        # Nothing may appear beside the copy: it is not opened as a store is.
        with closing(sqlite3.connect(f"file:{quote(os.fsencode(target))}?mode=ro&immutable=1", uri=True)) as copy:
            return applied_index_of(target, copy)
    except sqlite3.Error as error:
        raise CorruptStore(f"{path}: could not be copied to {target}: {error}") from error


@contextmanager
def open_snapshot(path: Path) -> Iterator[SqliteSnapshot]:
    """What the last flush left; it stays as it is until the end of the block. Blocks.

    Raises:
        CorruptStore: it cannot be read.
    """
    try:
        with closing(connect_snapshot(path, SNAPSHOT_CACHE)) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT k FROM kv LIMIT 1").fetchall()  # from here on the transaction sees one state
            yield SqliteSnapshot(path, connection)
    except sqlite3.Error as error:
        raise CorruptStore(f"{path}: {error}") from error
