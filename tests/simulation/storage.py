"""All that a node has on its disk, and what a power cut would leave of it."""

import random
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
from xxhash import xxh3_64_digest

from dwd.raft.types import Entry, HardState, Manifest
from tests.simulation.checkers import DurableLog
from tests.simulation.disk import WalOnDisk

KEPT: Final = 2
_DIGEST_BYTES: Final = 8


class SyncFailed(Exception):
    """The process must end: what is on the disk is not known."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A state, and which one it is."""

    manifest: Manifest
    state: bytes


_encoder: Final = msgspec.msgpack.Encoder()


class Snapshots:
    """The newest snapshots of a node, and the newest it was sent. Writing one is all or nothing, as a rename is."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, bytes]] = []  # by index, rising
        self._received: deque[Snapshot] = deque(maxlen=KEPT)
        self.newest_index = 0

    def save(self, snapshot: Snapshot) -> None:
        """Add one of our own; the oldest goes."""
        index = snapshot.manifest.index
        content = _encoder.encode(snapshot)
        kept = [(at, data) for at, data in self._kept if at < index]
        self._kept = [*kept, (index, xxh3_64_digest(content) + content)][-KEPT:]
        self.newest_index = index

    def newest(self) -> Snapshot | None:
        """The newest that is whole; damaged ones before it go."""
        while self._kept:
            index, data = self._kept[-1]
            snapshot = _read(data)
            if snapshot is not None:
                self.newest_index = index
                return snapshot
            self._kept.pop()
        self.newest_index = 0
        return None

    def receive(self, snapshot: Snapshot) -> None:
        """Keep what another node sent."""
        self._received.append(snapshot)

    def received(self, identity: bytes) -> Snapshot | None:
        """What another node sent."""
        return next((snapshot for snapshot in self._received if snapshot.manifest.id == identity), None)

    def find(self, identity: bytes) -> Snapshot | None:
        """One of our own, for another node."""
        kept = (_read(data) for _, data in self._kept)
        return next((snapshot for snapshot in kept if snapshot is not None and snapshot.manifest.id == identity), None)

    @property
    def oldest_index(self) -> int:
        """What a start may have to fall back to: the log is needed from there."""
        return self._kept[0][0] if len(self._kept) == KEPT else 0

    def rot(self, chance: random.Random) -> bool:
        """Damage the newest, if there is an older one. False: there is none."""
        if len(self._kept) < KEPT:
            return False
        index, data = self._kept[-1]
        at = chance.randrange(len(data))
        self._kept[-1] = (index, data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :])
        return True


def _read(data: bytes) -> Snapshot | None:
    """What a file says, if it is whole."""
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return msgspec.msgpack.decode(content, type=Snapshot) if xxh3_64_digest(content) == digest else None


class Storage:
    """One node's disk. `durable` is what the checkers go by."""

    def __init__(self) -> None:
        self.wal = WalOnDisk()
        self.snapshots = Snapshots()
        self.durable = DurableLog()
        self.full_until = 0
        self.sync_fails = False
        self._unsynced: deque[tuple[int, HardState, Sequence[Entry], Manifest | None]] = deque()

    def append(
        self, payload: bytes, hard_state: HardState, entries: Sequence[Entry], snapshot: Manifest | None
    ) -> None:
        """Write a record."""
        self.wal.append(payload)
        self._unsynced.append((self.wal.appended, hard_state, entries, snapshot))
        self._note()

    def sync(self) -> None:
        """Make everything durable.

        Raises:
            SyncFailed: some of it may not be.
        """
        if self.sync_fails:
            self.sync_fails = False
            raise SyncFailed
        self.wal.sync()
        self._note()

    def lose_unsynced(self, chance: random.Random) -> None:
        """A power cut."""
        self.wal.lose_unsynced(chance)
        self._unsynced.clear()

    def _note(self) -> None:
        while self._unsynced and self._unsynced[0][0] <= self.wal.synced:
            _, hard_state, entries, snapshot = self._unsynced.popleft()
            if snapshot is not None:
                self.durable.install(snapshot.index)
            self.durable.write(hard_state, entries)
