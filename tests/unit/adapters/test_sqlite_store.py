"""SqliteStore: flushing, reading, counting (tests/contract holds it to the port, test_sqlite_file to its format)."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dwd.adapters import sqlite_file
from dwd.adapters.sqlite_store import SqliteStore
from dwd.model.checks import InvariantViolated
from dwd.model.errors import StoreFailed
from dwd.model.ids import LogIndex, VolumeId

VOLUME = VolumeId(bytes(range(16)))
ALL = (b"", b"\xff" * 8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty store's file, not open."""
    made = tmp_path / "state"
    SqliteStore.create(made, VOLUME)
    return made


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """An open, empty store."""
    with closing(SqliteStore.open(path, VOLUME)) as opened:
        yield opened


def flush(store: SqliteStore, index: int) -> None:
    """Mark, and make durable."""
    store.mark_applied(LogIndex(index))
    assert store.begin_flush()
    store.write_flush()
    store.end_flush()


def test_a_new_store_is_empty_and_at_index_zero(store: SqliteStore) -> None:
    """Nothing was applied yet, and there is nothing to flush."""
    assert (store.applied_index, store.durable_index) == (0, 0)
    assert list(store.range(*ALL)) == []
    assert not store.begin_flush()
    assert store.quick_check() == []


# --- flushing


def test_durability_rises_at_the_end_of_a_flush(store: SqliteStore) -> None:
    """While a batch is under way, reads see it and what came after it; only end_flush() raises durable_index."""
    store.put(b"a", b"1")
    store.put(b"b", b"1")
    store.mark_applied(LogIndex(5))
    assert store.begin_flush()
    assert store.pending_rows == store.pending_bytes == 0
    assert (store.get(b"a"), store.get(b"b")) == (b"1", b"1")
    assert list(store.range(*ALL)) == [(b"a", b"1"), (b"b", b"1")]
    store.put(b"b", b"2")
    store.delete(b"a")
    store.mark_applied(LogIndex(6))
    store.write_flush()
    assert (store.durable_index, store.applied_index) == (0, 6)
    store.end_flush()
    assert (store.durable_index, store.applied_index) == (5, 6)
    assert list(store.range(*ALL)) == [(b"b", b"2")]
    assert store.pending_rows == 2


def test_an_index_without_rows_becomes_durable_too(path: Path) -> None:
    """Commands that change nothing still let the log forget them."""
    with closing(SqliteStore.open(path, VOLUME)) as store:
        flush(store, 9)
        assert store.durable_index == 9
        assert not store.begin_flush()
    with closing(SqliteStore.open(path, VOLUME)) as store:
        assert store.applied_index == 9


def test_a_batch_never_ends_inside_a_command(store: SqliteStore) -> None:
    """Rows put after the last mark cannot be flushed under its index (K3), and indexes never fall (K1)."""
    store.mark_applied(LogIndex(3))
    store.put(b"a", b"1")
    with pytest.raises(InvariantViolated, match="K3"):
        store.begin_flush()
    with pytest.raises(InvariantViolated, match="K1"):
        store.mark_applied(LogIndex(2))


def test_the_steps_of_a_flush_come_in_order(store: SqliteStore) -> None:
    """Written before it began, ended before it was written, begun twice: each is our bug (K2)."""
    with pytest.raises(InvariantViolated, match="K2"):
        store.write_flush()
    store.mark_applied(LogIndex(1))
    store.begin_flush()
    with pytest.raises(InvariantViolated, match="K2"):
        store.begin_flush()
    with pytest.raises(InvariantViolated, match="K2"):
        store.end_flush()


def test_large_and_many_rows_survive(path: Path) -> None:
    """Batches of any shape are written whole: large values, more rows than a statement takes, rows removed in bulk."""
    rows = {b"large%d" % number: bytes([number]) * 70_000 for number in range(20)}
    rows |= {b"small%d" % number: b"%d" % number for number in range(1000)}
    with closing(SqliteStore.open(path, VOLUME)) as store:
        for key, value in rows.items():
            store.put(key, value)
        flush(store, 1)
        for number in range(700):
            store.delete(b"small%d" % number)
            del rows[b"small%d" % number]
        flush(store, 2)
    with closing(SqliteStore.open(path, VOLUME)) as store:
        assert list(store.range(*ALL)) == sorted(rows.items())
        assert all(store.get(b"small%d" % number) is None for number in range(700))
        assert store.quick_check() == []


def test_a_reader_in_the_way_delays_only_the_checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is durable although a long read (a check) keeps SQLite's log from being emptied; the next flush does."""
    monkeypatch.setattr(sqlite_file, "_LOCK_WAIT_S", 0.01)
    log = path.with_name("state-wal")
    with closing(SqliteStore.open(path, VOLUME)) as store:
        with closing(sqlite_file._connect(path, "ro", 1 << 20)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM kv").fetchall()
            store.put(b"a", b"1")
            flush(store, 1)
            assert store.durable_index == 1
            assert log.stat().st_size > 0
        store.put(b"b", b"1")
        flush(store, 2)
        assert log.stat().st_size == 0


def test_a_full_disk_is_a_fault_and_leaves_the_last_batch(path: Path) -> None:
    """A flush that cannot be written raises StoreFailed, and opening again gives exactly the batch before it."""
    with closing(SqliteStore.open(path, VOLUME)) as store:
        store.put(b"a", b"1")
        flush(store, 1)
        store._file._writer.execute("PRAGMA max_page_count = 8")
        for number in range(1000):
            store.put(b"%d" % number, b"x" * 100)
        store.mark_applied(LogIndex(2))
        store.begin_flush()
        with pytest.raises(StoreFailed, match="the disk is full"):
            store.write_flush()
        assert store.durable_index == 1
    with closing(SqliteStore.open(path, VOLUME)) as store:
        assert store.applied_index == 1
        assert list(store.range(*ALL)) == [(b"a", b"1")]


# --- reading


def test_reads_are_remembered(path: Path) -> None:
    """The file is asked once for a row, or for an absence; a change is seen all the same."""
    with closing(SqliteStore.open(path, VOLUME)) as store:
        store.put(b"a", b"1")
        flush(store, 1)
    with closing(SqliteStore.open(path, VOLUME)) as store:
        for _ in range(3):
            assert store.get(b"a") == b"1"
            assert store.get(b"absent") is None
        assert store.statistics().file_reads == 2
        assert store.statistics().cached_rows == 2
        store.put(b"absent", b"now")
        flush(store, 2)
        flush(store, 3)
        assert store.get(b"absent") == b"now"


def test_statistics_count_what_was_done(store: SqliteStore) -> None:
    """One snapshot has the figures that a service and an operator go by."""
    store.put(b"a", b"12")
    store.put(b"a", b"123")
    store.delete(b"b")
    flush(store, 4)
    store.put(b"cc", b"1")
    now = store.statistics()
    assert (now.applied_index, now.durable_index, now.flushes, now.flushed_rows) == (4, 4, 1, 2)
    assert (now.pending_rows, now.pending_bytes) == (1, 3)
