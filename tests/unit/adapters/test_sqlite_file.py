"""The file behind SqliteStore: what is refused, what a damaged disk does to it, and what kill -9 leaves."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from dwd.adapters.sqlite_store import SqliteStore
from dwd.model.errors import CorruptStore, FormatTooNew, StoreFailed, VolumeMismatch
from dwd.model.ids import LogIndex, VolumeId

VOLUME = VolumeId(bytes(range(16)))
OTHER = VolumeId(b"another volume's")
GOLDEN = Path(__file__).parents[2] / "golden" / "store_v1.sqlite"
ALL = (b"", b"\xff" * 8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty store's file, not open."""
    made = tmp_path / "state"
    SqliteStore.create(made, VOLUME)
    return made


def flush(store: SqliteStore, index: int) -> None:
    """Mark, and make durable."""
    store.mark_applied(LogIndex(index))
    assert store.begin_flush()
    store.write_flush()
    store.end_flush()


def edit(path: Path, statement: str) -> None:
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


# --- opening and making


def test_a_store_is_never_made_over_another(path: Path) -> None:
    """Making a store where one is, or where one's log is left, is refused, and nothing changes."""
    before = path.read_bytes()
    with pytest.raises(VolumeMismatch, match="state exists"):
        SqliteStore.create(path, OTHER)
    assert path.read_bytes() == before
    path.rename(path.with_name("state-wal"))
    with pytest.raises(VolumeMismatch, match="state-wal exists"):
        SqliteStore.create(path, OTHER)
    assert not path.exists()


def test_a_making_that_was_cut_off_is_begun_anew(tmp_path: Path) -> None:
    """The draft of a process that died is no obstacle, and its log is not replayed into the new one."""
    (tmp_path / "state.new").write_bytes(b"half")
    (tmp_path / "state.new-wal").write_bytes(b"half")
    SqliteStore.create(tmp_path / "state", VOLUME)
    assert os.listdir(tmp_path) == ["state"]
    SqliteStore.open(tmp_path / "state", VOLUME).close()


def test_making_in_a_folder_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    """An error of the disk comes out as StoreFailed, with the path."""
    with pytest.raises(StoreFailed, match="nowhere"):
        SqliteStore.create(tmp_path / "nowhere" / "state", VOLUME)


def test_a_name_that_no_address_could_spell_is_a_path_all_the_same(tmp_path: Path) -> None:
    """Question marks, per cents and bytes that are not UTF-8 in the path reach the file they name."""
    folder = tmp_path / os.fsdecode(b"a?mode=memory&x=%41#\xff")
    folder.mkdir()
    SqliteStore.create(folder / "state", VOLUME)
    SqliteStore.open(folder / "state", VOLUME).close()
    assert os.listdir(folder) == ["state"]


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000, b"SQLite format 3\0" + b"\xa5" * 8176])
def test_a_file_that_is_no_store_is_corrupt(tmp_path: Path, content: bytes) -> None:
    """An empty file, garbage and a ruined header: CorruptStore with path and remedy; the file stays as it is."""
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(CorruptStore, match=r"state.*bring it back from a backup"):
        SqliteStore.open(path, VOLUME)
    assert path.read_bytes() == content


def test_a_missing_store_is_corrupt_and_stays_missing(tmp_path: Path) -> None:
    """Opening never makes an empty store where one was lost."""
    with pytest.raises(CorruptStore, match="is missing"):
        SqliteStore.open(tmp_path / "state", VOLUME)
    assert os.listdir(tmp_path) == []


def test_another_programs_database_is_not_a_store(tmp_path: Path) -> None:
    """A valid SQLite file without our mark is refused."""
    edit(tmp_path / "state", "CREATE TABLE kv (k, v)")
    with pytest.raises(CorruptStore, match=r"not a volume's state.*backup"):
        SqliteStore.open(tmp_path / "state", VOLUME)


def test_a_newer_format_is_not_touched(path: Path) -> None:
    """A store of a later version is refused, with both numbers."""
    edit(path, "PRAGMA user_version = 2")
    with pytest.raises(FormatTooNew, match=r"format 2 .* knows 1"):
        SqliteStore.open(path, VOLUME)


def test_another_volumes_store_is_refused(path: Path) -> None:
    """The volume in the file must be the one that is asked for; the right one still opens afterwards."""
    with pytest.raises(VolumeMismatch, match=VOLUME.hex()):
        SqliteStore.open(path, OTHER)
    SqliteStore.open(path, VOLUME).close()


@pytest.mark.parametrize("name", ["volume", "applied"])
def test_damaged_or_missing_identity_is_corrupt(path: Path, name: str) -> None:
    """The volume and the applied index are checked like rows: a wrong index would apply commands twice."""
    edit(
        path, f"UPDATE meta SET v = x'00' || substr(v, 2, 6) || x'01' || substr(v, 9) WHERE k = CAST('{name}' AS BLOB)"
    )
    with pytest.raises(CorruptStore, match="checksum"):
        SqliteStore.open(path, VOLUME)
    edit(path, f"DELETE FROM meta WHERE k = CAST('{name}' AS BLOB)")
    with pytest.raises(CorruptStore, match=f"lacks its {name}"):
        SqliteStore.open(path, VOLUME)


def test_the_format_of_version_1_is_read_for_ever(tmp_path: Path) -> None:
    """The golden file opens, and gives its rows and its index."""
    path = tmp_path / "state"
    shutil.copy(GOLDEN, path)
    with closing(SqliteStore.open(path, VOLUME)) as store:
        assert store.applied_index == 7
        assert list(store.range(*ALL)) == [(b"", b"empty key"), (b"D\0\1name", b"\0\xff"), (b"I\0\1", b"")]
        assert store.quick_check() == []


def test_what_is_written_is_format_1(path: Path) -> None:
    """The raw rows are the value, then xxh3 of key and value: pinned here byte by byte."""
    with closing(SqliteStore.open(path, VOLUME)) as store:
        store.put(b"key", b"value")
        flush(store, 258)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (0x44574653,)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT * FROM kv").fetchall() == [
            (b"key", b"value" + bytes.fromhex("a986367d94cda23c"))
        ]
        assert connection.execute("SELECT * FROM meta").fetchall() == [
            (b"applied", bytes.fromhex("0000000000000102411868f9ec7769f5")),
            (b"volume", VOLUME + bytes.fromhex("cabf2e7168a24964")),
        ]


# --- damage


def damage(path: Path, old: bytes, new: bytes) -> None:
    """What a failing disk does: other bytes where these stood."""
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_a_damaged_row_is_never_handed_out(path: Path) -> None:
    """One changed byte in a value, or in a key, is found by get, range, last and the check, which name the row."""
    with closing(SqliteStore.open(path, VOLUME)) as store:
        for key in (b"first", b"second", b"third"):
            store.put(key, b"value of " + key)
        flush(store, 1)
    damage(path, b"value of second", b"value of secund")
    damage(path, b"firstvalue", b"farstvalue")
    with closing(SqliteStore.open(path, VOLUME)) as store:
        assert store.get(b"third") == b"value of third"
        for read in (
            lambda: store.get(b"second"),
            lambda: store.get(b"farst"),
            lambda: list(store.range(b"s", b"t")),
            lambda: store.last(b"s", b"t"),
        ):
            with pytest.raises(CorruptStore, match="checksum"):
                read()
        found = store.quick_check()
        assert len(found) == 2
        assert b"farst".hex() in found[0]
        assert b"second".hex() in found[1]


def test_a_damaged_page_is_found(path: Path) -> None:
    """Where SQLite's own structure is broken, reads raise CorruptStore and the check lists it."""
    with closing(SqliteStore.open(path, VOLUME)) as store:
        for number in range(2000):
            store.put(b"%06d" % number, b"x" * 50)
        flush(store, 1)
    with path.open("r+b") as file:
        for page in range(8, 16):
            file.seek(4096 * page)
            file.write(b"\xa5" * 64)
    with closing(SqliteStore.open(path, VOLUME)) as store:
        with pytest.raises(CorruptStore, match=r"state.*backup"):
            list(store.range(*ALL))
        assert store.quick_check() != []
        assert str(path) in store.quick_check()[0]


def test_a_row_that_changed_its_type_is_found(path: Path) -> None:
    """Damage to a row's header can turn bytes into a number or a text: CorruptStore, and no crash."""
    with closing(SqliteStore.open(path, VOLUME)) as store:
        for key in (b"a", b"b", b"c"):
            store.put(key, b"\xff" * 20)
        flush(store, 1)
    edit(path, "UPDATE kv SET v = 5 WHERE k = CAST('a' AS BLOB)")
    edit(path, "UPDATE kv SET v = CAST(x'ff' AS TEXT) WHERE k = CAST('b' AS BLOB)")
    with closing(SqliteStore.open(path, VOLUME)) as store:
        for key in (b"a", b"b"):
            with pytest.raises(CorruptStore, match="the row"):
                store.get(key)
        assert store.get(b"c") == b"\xff" * 20
        assert len(store.quick_check()) == 2


# --- other processes

WRITER = """
import sys
from pathlib import Path
from dwd.adapters.sqlite_store import SqliteStore
store = SqliteStore.open(Path(sys.argv[1]), bytes(range(16)))
index = store.applied_index
while True:
    index += 1
    for number in range(4000):
        store.put(b"%05d" % number, b"%08d" % index + b"x" * 2000)
    store.delete(b"gone%d" % (index - 1))
    store.put(b"gone%d" % index, b"")
    store.mark_applied(index)
    store.begin_flush()
    print("begun", index, flush=True)
    store.write_flush()
    store.end_flush()
    print("durable", index, flush=True)
"""


SECOND = """
import sys
from pathlib import Path
from dwd.adapters import sqlite_file
from dwd.adapters.sqlite_store import SqliteStore
from dwd.model.errors import DataBusy
sqlite_file._LOCK_WAIT_S = 0.01
try:
    SqliteStore.open(Path(sys.argv[1]), bytes(range(16)))
except DataBusy as busy:
    print(busy)
"""


def kill_when(path: Path, log_bytes: int) -> tuple[int, int]:
    """Run the writer, kill it in its third flush when SQLite's log has this size; the last durable and begun index."""
    log = path.with_name(path.name + "-wal")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(5)]
        give_up = time.monotonic() + 10
        while log.stat().st_size < log_bytes and time.monotonic() < give_up:
            pass
        writer.kill()
        lines += writer.stdout.readlines()
    indexes = {word: int(number) for word, number in (line.split() for line in lines)}
    return indexes["durable"], indexes["begun"]


@pytest.mark.slow
def test_kill_9_in_a_flush_leaves_a_whole_batch(path: Path) -> None:
    """Killed at five stages of a write, the store holds one batch, whole, with its index; no durable one is lost."""
    caught = 0
    for log_bytes in (0, 1, 3 << 20, 6 << 20, 9 << 20):
        durable, begun = kill_when(path, log_bytes)
        caught += begun > durable
        with closing(SqliteStore.open(path, VOLUME)) as store:
            index = store.applied_index
            assert index in {durable, begun}
            rows = dict(store.range(*ALL))
            assert rows.pop(b"gone%d" % index) == b""
            assert len(rows) == 4000
            assert {value[:8] for value in rows.values()} == {b"%08d" % index}
            assert store.quick_check() == []
    assert caught >= 3, "the kills came between flushes: the test has shown nothing"


def test_a_second_process_is_kept_out(path: Path) -> None:
    """While a daemon has the store, another one gets DataBusy, and the first is not disturbed."""
    with closing(SqliteStore.open(path, VOLUME)) as store:
        store.put(b"a", b"1")
        run = subprocess.run([sys.executable, "-c", SECOND, str(path)], capture_output=True, text=True, check=True)
        assert "open in another process" in run.stdout
        flush(store, 1)
        assert store.get(b"a") == b"1"
