"""A volume's metadata with mirrors on bricks, without a daemon: to be killed and damaged at any point."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs

from dwd.adapters.data_folder import DataFolder
from dwd.adapters.metadata_mirror import MirrorFolder
from dwd.adapters.metadata_opening import OpenMetadata, open_metadata
from dwd.adapters.metadata_search import Found, find_volume
from dwd.adapters.sqlite_store import SqliteStore
from dwd.codec.superblock import Superblock, encode_superblock
from dwd.codec.volume_identity import BrickPlace, VolumeIdentity
from dwd.model.ids import BrickId, LogIndex, NodeId, Term, VolumeId
from dwd.model.protection import Protection
from dwd.raft.record import encode_record
from dwd.raft.types import Entry, EntryKind, HardState

VOLUME = VolumeId(b"m" * 16)


class Killed(BaseException):
    """What a test throws where the process shall end."""


@attrs.define(eq=False)
class Rig:
    """A data folder and three bricks; `last` is the last entry that was acknowledged."""

    root: Path
    data: Path
    last: int = 0
    opened: OpenMetadata | None = None
    folder: DataFolder | None = None
    _stack: ExitStack = attrs.field(factory=ExitStack)

    @classmethod
    def make(cls, root: Path, wanted: int = 2) -> "Rig":
        """Make it, and open it."""
        rig = cls(root, root / "data")
        places = tuple(BrickPlace(BrickId(i), str(rig.brick(i))) for i in (1, 2, 3))
        for place in places:
            make_superblock(Path(place.path), place.id)
        identity = VolumeIdentity(VOLUME, NodeId(1), 1, Protection(1, 2), places, made=True)
        folder = DataFolder.open(rig.data)
        folder.store.parent.mkdir()
        SqliteStore.create(folder.store, VOLUME)
        folder.put_identity(identity)
        unmade = VolumeIdentity(VOLUME, NodeId(1), 1, Protection(1, 2), places, made=False)
        with open_metadata(folder, Found(unmade, None, None, unmade), None):
            pass
        folder.close()
        folder.put_identity(identity)
        return rig.open(wanted)

    def brick(self, number: int) -> Path:
        """A brick's folder."""
        return self.root / f"b{number}"

    def mirror(self, number: int) -> MirrorFolder:
        """The metadata on it."""
        return MirrorFolder.of(self.brick(number))

    def open(self, wanted: int | None = None, named: tuple[Path, ...] = ()) -> "Rig":
        """As a daemon opens it."""
        self.folder = DataFolder.open(self.data)
        try:
            found = find_volume(self.data, named)
            assert found is not None
            self.opened = self._stack.enter_context(open_metadata(self.folder, found, wanted))
            for entry in self.opened.recovery.entries:
                self.opened.store.put(b"row%d" % entry.index, b"x")
                self.opened.store.mark_applied(entry.index)
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def meta(self) -> OpenMetadata:
        """What is open."""
        assert self.opened is not None
        return self.opened

    @property
    def recovered(self) -> int:
        """The last entry that opening found."""
        return self.meta.recovery.base_index + len(self.meta.recovery.entries)

    def append(self, count: int = 1, size: int = 0) -> None:
        """Log entries, apply them, and acknowledge them when they are durable."""
        end = self.meta.store.applied_index
        for index in range(end + 1, end + 1 + count):
            self.meta.wal.append(_record(index, EntryKind.COMMAND, bytes(size)))
            self.meta.store.put(b"row%d" % index, b"x")
            self.meta.store.mark_applied(LogIndex(index))
        self.meta.wal.sync()
        self.last = end + count

    def flush(self) -> None:
        """Write the state store."""
        self.meta.wal.sync()
        if self.meta.store.begin_flush():
            self.meta.store.write_flush()
            self.meta.store.end_flush()

    def turn(self) -> None:
        """What the service does, once."""
        mirrors = self.meta.mirrors
        plan = mirrors.survey()
        for brick in plan.leave:
            mirrors.leave(brick)
        for brick in plan.join:
            mirrors.begin_joining(brick, _record(self.meta.store.applied_index, EntryKind.NO_OP))
            self.append()
            if mirrors.fill(brick) and mirrors.follow(brick):
                self.append()
                self.flush()
                mirrors.admit(brick)
        for brick in plan.renew:
            self.flush()
            mirrors.renew(brick, self.meta.wal.appended_sequence)
        self.append()

    def kill(self) -> "Rig":
        """As kill -9: nothing is written any more."""
        if self.opened is not None:
            self.opened.wal.sync = lambda: None  # type: ignore[method-assign]
        return self.close()

    def close(self) -> "Rig":
        """As a daemon ends."""
        self.opened = None
        self._stack.close()
        if self.folder is not None:
            self.folder.close()
        self.folder = None
        return self

    @property
    def counting(self) -> set[int]:
        """The mirrors that count."""
        return set(self.meta.wal.counting)

    def assert_nothing_lost(self) -> None:
        """All that was acknowledged is there: in the log, and after it in the state store."""
        assert self.recovered >= self.last
        store = self.meta.store
        assert [i for i in range(1, self.last + 1) if store.get(b"row%d" % i) is None] == []


def make_superblock(path: Path, brick: BrickId) -> None:
    """Make a folder a brick, as far as the metadata cares."""
    path.mkdir()
    (path / "superblock").write_bytes(encode_superblock(Superblock(VOLUME, brick, b"u" * 16, 1)))


def _record(index: int, kind: EntryKind, data: bytes = b"") -> bytes:
    state = HardState(Term(1), NodeId(1), LogIndex(index))
    return encode_record(state, [Entry(Term(1), LogIndex(index), kind, data)])


@contextmanager
def killed() -> Iterator[None]:
    """The block may end with the end of the process."""
    with suppress(Killed):
        yield
