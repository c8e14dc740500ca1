"""What every Store promises, held against a plain dict: MemoryStore, and SqliteStore in every state of a flush."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dwd.adapters.sqlite_store import SqliteStore
from dwd.model.ids import LogIndex, VolumeId
from dwd.namespace.store import Store
from dwd.namespace.store_memory import MemoryStore

VOLUME = VolumeId(b"contract-of-store")
LEAST, GREATEST = b"", b"\xff" * 8


def flush(store: SqliteStore) -> None:
    """Make everything durable, in the three steps of the port."""
    store.mark_applied(LogIndex(store.applied_index + 1))
    assert store.begin_flush()
    store.write_flush()
    store.end_flush()


class Subject:
    """A store under test, and a way to move its rows to where they come to rest."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.path = folder / "state"
        self.store: Store = MemoryStore()
        if kind != "memory":
            SqliteStore.create(self.path, VOLUME)
            self.store = SqliteStore.open(self.path, VOLUME)

    def settle(self) -> None:
        """Rows so far go to the file ("flushed": and stay cached; "reopened": and nowhere else)."""
        if isinstance(self.store, SqliteStore) and self.kind in {"flushed", "reopened"}:
            flush(self.store)
            if self.kind == "reopened":
                self.store.close()
                self.store = SqliteStore.open(self.path, VOLUME)

    def close(self) -> None:
        """Let go of the file."""
        if isinstance(self.store, SqliteStore):
            self.store.close()


@pytest.fixture(params=["memory", "pending", "flushed", "reopened"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """Each kind of store, with its rows in each place where they can rest."""
    made = Subject(request.param, tmp_path)
    yield made
    made.close()


def test_a_row_is_what_was_put_last(subject: Subject) -> None:
    """A get gives the newest value, an empty one too, wherever the older one rests."""
    assert subject.store.get(b"a") is None
    subject.store.put(b"a", b"1")
    subject.settle()
    assert subject.store.get(b"a") == b"1"
    subject.store.put(b"a", b"")
    assert subject.store.get(b"a") == b""
    subject.settle()
    assert subject.store.get(b"a") == b""


def test_a_deleted_row_is_gone(subject: Subject) -> None:
    """A removed key is absent from get, range and last, and may be put again."""
    subject.store.put(b"a", b"1")
    subject.store.put(b"b", b"2")
    subject.settle()
    assert subject.store.get(b"b") == b"2"
    subject.store.delete(b"b")
    for _ in range(2):
        assert subject.store.get(b"b") is None
        assert list(subject.store.range(LEAST, GREATEST)) == [(b"a", b"1")]
        assert subject.store.last(LEAST, GREATEST) == (b"a", b"1")
        subject.settle()
    subject.store.put(b"b", b"3")
    assert subject.store.get(b"b") == b"3"


def test_deleting_what_is_not_there_is_no_error(subject: Subject) -> None:
    """A key that never was can be deleted, and stays absent."""
    subject.store.delete(b"never")
    subject.settle()
    assert subject.store.get(b"never") is None
    assert list(subject.store.range(LEAST, GREATEST)) == []


def test_keys_order_as_bytes_do(subject: Subject) -> None:
    """Zero bytes, high bytes, prefixes and the empty key sort as Python sorts bytes."""
    keys = [b"", b"\0", b"\0\0", b"\x7f", b"\x80", b"a", b"a\0", b"a\xff", b"b", b"\xff", b"\xff\0"]
    for key in reversed(keys):
        subject.store.put(key, key + b"!")
    subject.settle()
    assert [key for key, _ in subject.store.range(LEAST, GREATEST)] == sorted(keys)
    assert list(subject.store.range(b"a", b"b", 2)) == [(b"a", b"a!"), (b"a\0", b"a\0!")]
    assert subject.store.last(b"a", b"b") == (b"a\xff", b"a\xff!")


def test_an_empty_or_backward_range_has_no_rows(subject: Subject) -> None:
    """The end is not part of a range, and one that ends before it starts is empty."""
    subject.store.put(b"m", b"1")
    subject.settle()
    for start, end in ((b"m", b"m"), (b"z", b"a"), (b"a", b"m"), (b"n", b"z")):
        assert list(subject.store.range(start, end)) == []
        assert subject.store.last(start, end) is None


def test_many_rows_come_back_whole_from_all_places(subject: Subject) -> None:
    """Rows older and newer, removed and replaced, over many pages, merge into exactly what was put."""
    expected = {b"%05d" % number: b"old" for number in range(1500)}
    for key in expected:
        subject.store.put(key, b"old")
    subject.settle()
    for number in range(0, 1500, 3):
        subject.store.put(b"%05d" % number, b"new")
        expected[b"%05d" % number] = b"new"
    for number in range(400, 1200):
        subject.store.delete(b"%05d" % number)
        del expected[b"%05d" % number]
    assert list(subject.store.range(LEAST, GREATEST)) == sorted(expected.items())
    assert list(subject.store.range(b"00399", GREATEST, 2)) == [(b"00399", b"new"), (b"01200", b"new")]
    assert subject.store.last(LEAST, b"01200") == (b"00399", b"new")


def test_a_range_outlives_changes(subject: Subject) -> None:
    """While rows come and go, an open range is in order, repeats nothing, and misses no row that stayed."""
    for number in range(0, 4000, 4):
        subject.store.put(b"%05d" % number, b"kept")
    subject.settle()
    seen = []
    touched = set()
    for step, (key, _) in enumerate(subject.store.range(LEAST, GREATEST)):
        seen.append(key)
        gone, come = b"%05d" % (step * 28 % 4000 // 4 * 4), b"%05d" % (step * 12 % 4000 + 1)
        subject.store.delete(gone)
        subject.store.put(come, b"new")
        touched |= {gone, come}
        if step % 100 == 50 and isinstance(subject.store, SqliteStore) and subject.kind != "pending":
            flush(subject.store)
    assert seen == sorted(set(seen))
    assert {b"%05d" % number for number in range(0, 4000, 4)} - touched <= set(seen)
    assert len(touched & set(seen)) < len(touched)


_KEYS = st.lists(st.sampled_from([0, 1, 255]), max_size=2).map(bytes)
_VALUES = st.binary(max_size=4)
_FAST = settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow],
)


@cache
def empty_store() -> bytes:
    """The file of an empty store."""
    with tempfile.TemporaryDirectory(prefix="dw-store-") as folder:
        SqliteStore.create(Path(folder) / "empty", VOLUME)
        return (Path(folder) / "empty").read_bytes()


StoreKind = TypeVar("StoreKind", bound=Store)


class StoreMachine(RuleBasedStateMachine, Generic[StoreKind]):
    """Random changes and reads, against a dict."""

    store: StoreKind

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[bytes, bytes] = {}

    @rule(key=_KEYS, value=_VALUES)
    def put(self, key: bytes, value: bytes) -> None:
        """Change both."""
        self.store.put(key, value)
        self.model[key] = value

    @rule(key=_KEYS)
    def delete(self, key: bytes) -> None:
        """Change both."""
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(key=_KEYS)
    def get(self, key: bytes) -> None:
        """One row is the same in both."""
        assert self.store.get(key) == self.model.get(key)

    @rule(start=_KEYS, end=_KEYS, limit=st.integers(0, 4))
    def range(self, start: bytes, end: bytes, limit: int) -> None:
        """A range is the same in both."""
        expected = sorted(row for row in self.model.items() if start <= row[0] < end)
        assert list(self.store.range(start, end, limit)) == expected[: limit or None]

    @rule(start=_KEYS, end=_KEYS)
    def last(self, start: bytes, end: bytes) -> None:
        """The last row of a range is the same in both."""
        expected = max((row for row in self.model.items() if start <= row[0] < end), default=None)
        assert self.store.last(start, end) == expected


class MemoryMachine(StoreMachine[MemoryStore]):
    """The store in memory."""

    @initialize()
    def make(self) -> None:
        """Begin with an empty store."""
        self.store = MemoryStore()


class SqliteMachine(StoreMachine[SqliteStore]):
    """The durable one, with every interleaving of the steps of a flush, and with crashes between them."""

    @initialize()
    def make(self) -> None:
        """Begin with a copy of an empty store: to make each one anew would sync the disk five times."""
        self.folder = tempfile.TemporaryDirectory(prefix="dw-store-")
        self.path = Path(self.folder.name) / "state"
        self.path.write_bytes(empty_store())
        self.store = SqliteStore.open(self.path, VOLUME)
        self.flush_step = 0
        self.states = {0: dict(self.model)}  # by the index that was marked then
        self.written = 0  # the index that a crash leaves us with

    @rule(step=st.integers(0, 2))
    def mark(self, step: int) -> None:
        """A border between commands."""
        index = self.store.applied_index + step
        if step == 0 and self.model != self.states[index]:
            return  # rows were put: that takes a new index
        self.store.mark_applied(LogIndex(index))
        self.states[index] = dict(self.model)

    @precondition(lambda self: self.flush_step == 0 and self.states.get(self.store.applied_index) == self.model)
    @rule()
    def begin(self) -> None:
        """Set a batch apart; there is one exactly if the index has risen."""
        self.store.mark_applied(self.store.applied_index)
        risen = self.store.applied_index != self.store.durable_index
        assert self.store.begin_flush() == risen
        self.flush_step = int(risen)
        self.begun = self.store.applied_index

    @precondition(lambda self: self.flush_step == 1)
    @rule()
    def write(self) -> None:
        """From here on the batch survives, whether or not the owner has heard of it."""
        self.store.write_flush()
        self.flush_step = 2
        self.written = self.begun

    @precondition(lambda self: self.flush_step == 2)
    @rule()
    def end(self) -> None:
        """The owner hears of it."""
        self.store.end_flush()
        self.flush_step = 0
        assert self.store.durable_index == self.begun

    @rule()
    def crash(self) -> None:
        """What comes back is exactly the state at the index that was written."""
        self.store.close()
        self.store = SqliteStore.open(self.path, VOLUME)
        assert self.store.applied_index == self.store.durable_index == self.written
        self.model = dict(self.states[self.written])
        self.flush_step = 0
        assert list(self.store.range(LEAST, GREATEST)) == sorted(self.model.items())

    @invariant()
    def pending_is_counted(self) -> None:
        """The figures that a service decides by follow what is pending."""
        if hasattr(self, "path"):
            rows = self.store._pending.items()
            assert self.store.pending_rows == len(rows)
            assert self.store.pending_bytes == sum(len(key) + len(value or b"") for key, value in rows)

    def teardown(self) -> None:
        """Let go of the file and its folder."""
        if hasattr(self, "path"):
            self.store.close()
            self.folder.cleanup()


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = _FAST
TestSqliteMachine = SqliteMachine.TestCase
TestSqliteMachine.settings = _FAST
