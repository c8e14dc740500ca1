"""The file of the durable store: sealed rows in SQLite, and the index of the last command whose effects they hold.

Theory of operation. Two connections: one reads, on the owner's thread; one writes, in one worker thread
at a time. They share the index of SQLite's log in this process's memory (the VFS "unix-excl"), so that a
read takes no system call for a lock, and a second process is kept out. A batch is one transaction with
its log index in it, and synchronous=FULL makes it durable when COMMIT returns. The checkpoint that
follows only keeps SQLite's log short: where a reader stands in its way (check() is one), the next
one does its work, and the log grows meanwhile.

The writer puts many rows into one statement. SQLite then works for a while without the interpreter's
lock; row by row, it would have to win the lock back from a busy owner each time, at up to 5 ms a row.

SQLite does not notice a byte that the disk changed, so each row is sealed with a checksum of its key and
value, and one that does not match is never handed out.

Format 1: application_id "DWFS", user_version 1; tables kv and meta, both (k, v), with
v = value + xxh3_64(k + value) big-endian; meta has "volume" (16 bytes) and "applied" (u64, big-endian).
"""

import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

import xxhash

from dwd.model.errors import CorruptStore, DataBusy, Fault, FormatTooNew, StoreFailed, VolumeMismatch
from dwd.model.ids import LogIndex, VolumeId
from dwd.model.units import KIB, MIB

FORMAT: Final = 1
_APPLICATION: Final = int.from_bytes(b"DWFS", "big")
_SEAL_BYTES: Final = 8
_VOLUME: Final = b"volume"
_APPLIED: Final = b"applied"
_index: Final = struct.Struct(">Q")
_header: Final = struct.Struct(">16s44xI4xI")  # of SQLite's own: its magic, user_version, application_id
_MAGIC: Final = b"SQLite format 3\0"

_READER_CACHE: Final = 12 * MIB  # inner pages and warm leaves: emptied by each batch, so more would not help
SNAPSHOT_CACHE: Final = 4 * MIB
_WRITER_CACHE: Final = 4 * MIB  # beyond it, a batch's changed pages go to SQLite's log early
_STATEMENT_ROWS: Final = 256  # in one statement: some 0.7 ms of work, of which a seventh holds the interpreter's lock
_STATEMENT_BYTES: Final = 512 * KIB  # of values in one statement, so that large ones do not pile up
_LOCK_WAIT_S: Final = 1.0  # for a read of ours that is under way; then the checkpoint is left to the next batch

_SCHEMA: Final = (
    "CREATE TABLE kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE meta (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)
_GET: Final = "SELECT v FROM kv WHERE k = ?"
_PAGE: Final = "SELECT k, v FROM kv WHERE k >= ? AND k < ? ORDER BY k LIMIT ?"
_PAGE_REVERSE: Final = "SELECT k, v FROM kv WHERE k >= ? AND k < ? ORDER BY k DESC LIMIT ?"
_META: Final = "SELECT v FROM meta WHERE k = ?"
_SET_META: Final = "REPLACE INTO meta VALUES (?, ?)"


class SqliteFile:
    """An open store file. All but write(), check() and close() belong to the owner's thread."""

    def __init__(
        self, path: Path, reader: sqlite3.Connection, writer: sqlite3.Connection, applied_index: LogIndex
    ) -> None:
        self.applied_index: Final = applied_index  # as it was when the file was opened
        self._path = path
        self._reader = reader
        self._writer = writer
        self._rows = reader.cursor()  # one for all reads: each ends before the next begins

    @classmethod
    def create(cls, path: Path, volume: VolumeId) -> None:
        """Make an empty store for a volume: whole and durable under its name, or not there. Blocks.

        Raises:
            VolumeMismatch: there is a store, or what is left of one.
            StoreFailed: the disk failed us.
        """
        for taken in (path, _log_of(path)):
            if taken.exists():
                raise VolumeMismatch(f"{taken} exists and may hold a volume's state; move it away to make a new one")
        draft = path.with_name(path.name + ".new")
        try:
            for left_over in (draft, _log_of(draft)):
                left_over.unlink(missing_ok=True)
            with closing(_connect(draft, "rwc", _WRITER_CACHE)) as connection:
                connection.execute("BEGIN")
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute(_SET_META, (_VOLUME, _seal(_VOLUME, volume)))
                connection.execute(_SET_META, (_APPLIED, _seal(_APPLIED, _index.pack(0))))
                connection.execute("COMMIT")
            draft.rename(path)
            _sync_folder(path.parent)
        except sqlite3.Error as error:
            raise _fault(path, error) from error
        except OSError as error:
            raise StoreFailed(f"{path}: {error.strerror}; nothing was made: see to the disk and try again") from error

    @classmethod
    def open(cls, path: Path, volume: VolumeId) -> Self:
        """Open a volume's store; what SQLite's log holds is made durable in the file. Blocks.

        Raises:
            CorruptStore: it is missing, damaged or no store.
            FormatTooNew: a newer version wrote it.
            VolumeMismatch: it belongs to another volume.
            DataBusy: another process has it open.
            StoreFailed: the disk failed us.
        """
        _check_header(path)
        try:
            writer = _connect(path, "rw", _WRITER_CACHE)
        except sqlite3.Error as error:
            raise _fault(path, error) from error
        try:
            _check_volume(path, writer, volume)
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            applied = applied_index_of(path, writer)
            return cls(path, _connect(path, "ro", _READER_CACHE), writer, applied)
        except sqlite3.Error as error:
            writer.close()
            raise _fault(path, error) from error
        except (CorruptStore, FormatTooNew, VolumeMismatch):
            writer.close()
            raise

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        try:
            row = self._rows.execute(_GET, (key,)).fetchone()
        except sqlite3.Error as error:
            raise _fault(self._path, error) from error
        return None if row is None else unseal(self._path, key, row[0])

    def page(self, start: bytes, end: bytes, rows_max: int, *, reverse: bool) -> list[tuple[bytes, bytes]]:
        """The first rows of [start, end), or the last ones from the end backwards."""
        try:
            found = self._rows.execute(_PAGE_REVERSE if reverse else _PAGE, (start, end, rows_max)).fetchall()
        except sqlite3.Error as error:
            raise _fault(self._path, error) from error
        return [(key, unseal(self._path, key, sealed)) for key, sealed in found]

    def write(self, rows: Iterable[tuple[bytes, bytes | None]], applied: LogIndex) -> None:
        """Set rows, remove those without a value, and note the index: all of it or nothing, durably. Blocks.

        Raises:
            StoreFailed: not durable; the process must end, for what the disk holds is now uncertain.
        """
        run = self._writer.execute
        try:
            run("BEGIN IMMEDIATE")
            for statement, values in _statements(rows):
                run(statement, values)
            run(_SET_META, (_APPLIED, _seal(_APPLIED, _index.pack(applied))))
            run("COMMIT")
            run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise _fault(self._path, error) from error

    def check(self) -> list[str]:
        """Read everything, and say what is wrong with SQLite's structure or with a row. Blocks."""
        try:
            with closing(_connect(self._path, "ro", _READER_CACHE)) as connection:
                verdict = [line.decode() for (line,) in connection.execute("PRAGMA quick_check")]
                structure = [f"{self._path}: {line}" for line in verdict if line != "ok"]
                return structure or list(_damaged_rows(self._path, connection))
        except sqlite3.Error as error:
            return [str(_fault(self._path, error))]

    def close(self) -> None:
        """Let go of the file; every batch written is in it. Blocks."""
        self._reader.close()
        self._writer.close()


_REMEDY: Final = "bring it back from a backup or another copy of the metadata; do not make a new one over it"


def _connect(path: Path, mode: str, cache_bytes: int) -> sqlite3.Connection:
    """Open a connection; it touches the file, so that one which is no database fails here."""
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}&vfs=unix-excl",
        uri=True,
        timeout=_LOCK_WAIT_S,
        isolation_level=None,
        check_same_thread=False,  # the writer is used by one worker thread after another, never by two at once
    )
    connection.text_factory = bytes
    try:
        for setting in (
            f"cache_size = {-cache_bytes // KIB}",
            "mmap_size = 0",  # a failing disk would kill us with SIGBUS
            "temp_store = MEMORY",
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 0",  # never in the middle of a batch
            "secure_delete = OFF",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_snapshot(path: Path, cache_bytes: int) -> sqlite3.Connection:
    """A connection of its own for a long read transaction. Raises sqlite3.Error."""
    return _connect(path, "ro", cache_bytes)


def applied_index_of(path: Path, connection: sqlite3.Connection) -> LogIndex:
    """The last command whose effects the file holds. Raises sqlite3.Error, CorruptStore."""
    (applied,) = _index.unpack(_read_meta(path, connection, _APPLIED))
    return LogIndex(applied)


def _check_header(path: Path) -> None:
    """See whose file this is before SQLite may change a byte of it."""
    try:
        with path.open("rb") as file:
            header = file.read(_header.size)
    except FileNotFoundError as error:
        raise CorruptStore(f"{path} is missing; {_REMEDY}") from error
    except OSError as error:
        raise StoreFailed(f"{path}: {error.strerror}; see to the disk and start again") from error
    magic, version, application = _header.unpack(header.ljust(_header.size, b"\0"))
    if (magic, application) != (_MAGIC, _APPLICATION):
        raise CorruptStore(f"{path} is not a volume's state; {_REMEDY}")
    if version > FORMAT:
        raise FormatTooNew(f"{path} has format {version} and this version knows {FORMAT}; use the newer version")


def _check_volume(path: Path, connection: sqlite3.Connection, volume: VolumeId) -> None:
    found = _read_meta(path, connection, _VOLUME)
    if found != volume:
        raise VolumeMismatch(f"{path} belongs to volume {found.hex()}, not {volume.hex()}; put the right file there")


def _read_meta(path: Path, connection: sqlite3.Connection, name: bytes) -> bytes:
    row = connection.execute(_META, (name,)).fetchone()
    if row is None:
        raise CorruptStore(f"{path} lacks its {name.decode()} record; {_REMEDY}")
    return unseal(path, name, row[0])


def _seal(key: bytes, value: bytes) -> bytes:
    return value + xxhash.xxh3_64_digest(key + value)


def unseal(path: Path, key: object, sealed: object) -> bytes:
    """The value in a row that came from the file. Damage can change the type of a column, too."""
    if not (isinstance(key, bytes) and isinstance(sealed, bytes)):
        raise CorruptStore(f"{path}: the row {key!r} is not of bytes; {_REMEDY}")
    value = sealed[:-_SEAL_BYTES]
    if xxhash.xxh3_64_digest(key + value) != sealed[-_SEAL_BYTES:]:
        raise CorruptStore(f"{path}: the row {key.hex()} does not match its checksum; {_REMEDY}")
    return value


def _statements(rows: Iterable[tuple[bytes, bytes | None]]) -> Iterator[tuple[str, Sequence[bytes]]]:
    """The rows as few large statements, bounded in rows and bytes. No key comes twice, so their order is free."""
    puts: list[bytes] = []
    put_bytes = 0
    deletes: list[bytes] = []
    for key, value in rows:
        if value is None:
            deletes.append(key)
        else:
            puts += (key, _seal(key, value))
            put_bytes += len(value)
        if len(puts) == 2 * _STATEMENT_ROWS or put_bytes >= _STATEMENT_BYTES:
            yield _replace(len(puts) // 2), puts
            puts, put_bytes = [], 0
        if len(deletes) == _STATEMENT_ROWS:
            yield _delete(_STATEMENT_ROWS), deletes
            deletes = []
    if puts:
        yield _replace(len(puts) // 2), puts
    if deletes:
        yield _delete(len(deletes)), deletes


def _replace(rows: int) -> str:
    return "REPLACE INTO kv VALUES " + ",".join(["(?,?)"] * rows)  # noqa: S608 (placeholders only)


def _delete(rows: int) -> str:
    return f"DELETE FROM kv WHERE k IN ({','.join('?' * rows)})"  # noqa: S608 (placeholders only)


def _damaged_rows(path: Path, connection: sqlite3.Connection) -> Iterator[str]:
    """One line for each row that does not match its seal."""
    for name in (_VOLUME, _APPLIED):
        try:
            _read_meta(path, connection, name)
        except CorruptStore as damage:
            yield str(damage)
    for key, sealed in connection.execute("SELECT k, v FROM kv"):
        try:
            unseal(path, key, sealed)
        except CorruptStore as damage:
            yield str(damage)


def _fault(path: Path, error: sqlite3.Error) -> Fault | DataBusy:
    """Say what SQLite's error means for us."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return CorruptStore(f"{path}: {error}; {_REMEDY}")
    if name.startswith("SQLITE_BUSY"):
        return DataBusy(f"{path} is open in another process; stop that one")
    if name == "SQLITE_FULL":
        return StoreFailed(f"{path}: the disk is full; make room and start again: nothing that was promised is lost")
    return StoreFailed(f"{path}: {error}; see to the disk and start again: nothing that was promised is lost")


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
