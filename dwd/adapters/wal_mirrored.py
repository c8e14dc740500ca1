"""The log and its mirrors: every record goes to the data folder and to bricks on other devices (ports.Wal).

Rules: the data folder's own log comes first, and its failure ends the process: what was acknowledged is on the
mirrors, and the next start restores it from there. A mirror that fails, or takes longer than a disk may, is dropped and
the log goes on without it. A sync returns when the own log and every mirror that counts are on stable storage, and when
the set of those that count is: a copy that missed something must never pass for a whole one.

A brick becomes a mirror in steps, while the log goes on: queue() keeps what is appended for it, fill() writes the
queue to its new log, follow() gives it every record from then on, admit() lets it count.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import attrs

from dwd.adapters.wal_file import FileWal
from dwd.model.checks import invariant
from dwd.model.errors import DwError
from dwd.model.ids import BrickId
from dwd.model.units import MIB

QUEUE_BYTES_MAX: Final = 32 * MIB  # drop: a brick that cannot keep up while it is filled is no mirror
_SYNC_S_MAX: Final = 30.0  # drop: no disk that works takes longer

_log = logging.getLogger(__name__)

Publish = Callable[[], Collection[BrickId]]


@attrs.define
class _Copy:
    """A mirror that gets every record."""

    wal: FileWal
    worker: ThreadPoolExecutor  # of one thread: its syncs


@attrs.define
class _Queue:
    """What a mirror in the making must still write."""

    payloads: deque[bytes] = attrs.field(factory=deque)
    bytes_taken: int = 0
    overflowed: bool = False


class MirroredWal:
    """One log on several devices."""

    def __init__(self, own: FileWal, copies: Mapping[BrickId, FileWal], published: frozenset[BrickId]) -> None:
        """`copies` end where `own` ends. `published` is what the disks say who counts."""
        self.own = own  # the data folder's
        self._copies = {brick: _Copy(wal, _worker(brick)) for brick, wal in copies.items()}
        self._counting = frozenset(self._copies)
        self._queues: dict[BrickId, _Queue] = {}
        self._published = published
        self._publish: Publish = tuple
        self._publishing = threading.Lock()
        self._lock = threading.Lock()  # guards the sets above: a sync's thread drops what fails
        self._synced = own.synced_sequence if self._counting == published else 0
        self.lost: Callable[[BrickId, str], None] = lambda _, __: None
        for brick, copy in self._copies.items():
            self._check_even(brick, copy)

    def publish_with(self, publish: Publish) -> None:
        """Set what makes `counting` durable; it returns those mirrors that would not take it."""
        self._publish = publish

    @property
    def appended_sequence(self) -> int:
        """The last record that is in every file."""
        return self.own.appended_sequence

    @property
    def synced_sequence(self) -> int:
        """The last record that survives a power cut, on every copy that counts."""
        return self._synced

    @property
    def counting(self) -> frozenset[BrickId]:
        """The mirrors that hold everything."""
        return self._counting

    def append(self, payload: bytes) -> None:
        """Add one record.

        Raises:
            NoSpace: the data folder's disk is full; nothing was written.
            WalFault: that disk failed.
        """
        self.own.append(payload)
        for brick, copy in tuple(self._copies.items()):
            try:
                copy.wal.append(payload)
            except DwError as failure:
                self._drop(brick, str(failure))
            else:
                self._check_even(brick, copy)
        for queue in self._queues.values():
            _put(queue, payload)

    def sync(self) -> None:
        """Make every record appended so far survive a power cut. Blocks."""
        target = self.appended_sequence
        begun = [(brick, copy, _begin_sync(copy)) for brick, copy in tuple(self._copies.items())]
        self.own.sync()
        for brick, copy, future in begun:
            self._finish_sync(brick, copy, future)
        self._settle()
        with self._lock:
            self._synced = max(self._synced, target)

    def _finish_sync(self, brick: BrickId, copy: _Copy, future: "Future[None] | None") -> None:
        try:
            if future is not None:
                future.result(_SYNC_S_MAX)
        except TimeoutError:
            self._drop(brick, f"it did not sync within {_SYNC_S_MAX:.0f} s", copy)
        except DwError as failure:
            self._drop(brick, str(failure), copy)

    def _settle(self) -> None:
        """Make durable who counts, if that has changed. Whoever cannot take the word does not count."""
        with self._publishing:
            while (counting := self._counting) != self._published:
                for brick in self._publish():
                    self._drop(brick, "the set of mirrors could not be written there")
                self._published = counting

    def forget_before(self, position: int) -> None:
        """Let the data folder's own log forget; a mirror forgets what its own snapshot holds. Blocks."""
        self.own.forget_before(position)

    def close(self) -> None:
        """Sync, then give the files back."""
        try:
            if not self.own.has_failed:
                self.sync()
        finally:
            for copy in self._copies.values():
                copy.worker.shutdown(wait=False)
                copy.wal.abandon()
            self.own.close()

    # ---- one mirror ----

    @property
    def following(self) -> frozenset[BrickId]:
        """The mirrors that get every record; some may lack their snapshot still."""
        return frozenset(self._copies)

    def copy_of(self, brick: BrickId) -> FileWal | None:
        """The log on a brick."""
        copy = self._copies.get(brick)
        return None if copy is None else copy.wal

    def drop(self, brick: BrickId, reason: str) -> None:
        """Go on without a mirror: it failed."""
        self._drop(brick, reason)

    def release(self, brick: BrickId) -> None:
        """Go on without a mirror: it is not wanted any more."""
        self._take_out(brick, None)

    def queue(self, brick: BrickId) -> int:
        """Keep what is appended from now on for a new mirror; returns the last record before."""
        self._queues[brick] = _Queue()
        return self.appended_sequence

    def fill(self, brick: BrickId, wal: FileWal) -> None:
        """Write what was kept to the new mirror's log. Blocks; appends go on. Raises as FileWal.append()."""
        _drain(self._queues[brick], wal)
        wal.sync()

    def follow(self, brick: BrickId, wal: FileWal) -> bool:
        """Give the new mirror every record from now on; False if it could not keep up or its disk failed."""
        queue = self._queues.pop(brick)
        try:
            _drain(queue, wal)
        except DwError as failure:
            _log.error("brick %d cannot become a metadata mirror: %s", brick, failure)
            return False
        if queue.overflowed:
            return False
        copy = _Copy(wal, _worker(brick))
        self._check_even(brick, copy)
        with self._lock:
            self._copies[brick] = copy
        return True

    def give_up(self, brick: BrickId) -> None:
        """Keep nothing more for a mirror in the making."""
        self._queues.pop(brick, None)

    def admit(self, brick: BrickId) -> bool:
        """Let a mirror that follows and has its snapshot count. Blocks; False if it was lost meanwhile."""
        self.sync()
        with self._lock:
            if brick not in self._copies:
                return False
            self._counting |= {brick}
        self._settle()
        return brick in self._counting

    def _drop(self, brick: BrickId, reason: str, failed: _Copy | None = None) -> None:
        if self._take_out(brick, failed):
            _log.error("the metadata mirror on brick %d is lost, and the log goes on without it: %s", brick, reason)
            self.lost(brick, reason)

    def _take_out(self, brick: BrickId, failed: _Copy | None) -> bool:
        with self._lock:
            copy = self._copies.get(brick)
            if copy is None or (failed is not None and copy is not failed):
                return False
            del self._copies[brick]
            self._counting -= {brick}
        copy.worker.shutdown(wait=False)
        copy.wal.abandon()
        return True

    def _check_even(self, brick: BrickId, copy: _Copy) -> None:
        ends = (copy.wal.appended_sequence, self.own.appended_sequence)
        invariant(ends[0] == ends[1], "W3", f"the mirror on brick {brick} and the log end alike: {ends}")


def _worker(brick: BrickId) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, f"mirror-{brick}")


def _begin_sync(copy: _Copy) -> "Future[None] | None":
    try:
        return copy.worker.submit(copy.wal.sync)
    except RuntimeError:  # dropped meanwhile: its worker takes nothing any more
        return None


def _put(queue: _Queue, payload: bytes) -> None:
    queue.bytes_taken += len(payload)
    queue.overflowed |= queue.bytes_taken > QUEUE_BYTES_MAX
    if not queue.overflowed:
        queue.payloads.append(payload)


def _drain(queue: _Queue, wal: FileWal) -> None:
    while queue.payloads:
        wal.append(queue.payloads.popleft())
