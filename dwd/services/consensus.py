"""Drive the Raft node: persist what it says, apply what is committed, in the order that Ready gives.

The order is the durability contract (DESIGN P2): write, sync if asked, send, apply, advance. In a
group of one an entry counts once it is in the WAL file; barrier() is how fsync gets its promise.
The state store is flushed in the background, never ahead of the synced log.
"""

from collections import deque
from collections.abc import Callable

import attrs
import outcome
import trio
from outcome import Outcome as Result

from dwd.model.checks import invariant
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.model.units import MIB
from dwd.namespace.apply import apply
from dwd.namespace.commands import Command, decode_command, encode_command
from dwd.namespace.outcomes import Outcome
from dwd.namespace.state import State
from dwd.ports import DurableStore, Wal
from dwd.raft.node import RaftNode, Role
from dwd.raft.record import RecordPositions, encode_record
from dwd.raft.types import Entry, EntryKind, HardState, Ready

_FLUSH_S = 1.0  # the store is written behind at least this often
_FLUSH_ROWS = 20_000  # or when so much is pending: each row costs some 300 bytes
_FLUSH_BYTES = 16 * MIB  # of keys and values
_BEHIND = 4  # times as much, and clients wait
_SYNC_S = 1.0  # what nobody fsynced survives a power cut after this long


@attrs.frozen
class ConsensusStatistics:
    """Where the log is."""

    term: Term
    role: str
    last: LogIndex
    committed: LogIndex
    applied: LogIndex
    durable: LogIndex  # in the state store, for good
    records: int
    synced_records: int
    barriers: int
    syncs: int
    pending_rows: int


class Consensus:
    """Owns the Raft node, the WAL and the state store of one group."""

    def __init__(self, node: RaftNode, positions: RecordPositions, wal: Wal, store: DurableStore, state: State) -> None:
        self._node = node
        self._positions = positions
        self._wal = wal
        self._store = store
        self._state = state
        self._batch: list[tuple[bytes, Command]] = []
        self._waiting: deque[tuple[Command, Callable[[Outcome], None]]] = deque()
        self._durable_soon: deque[tuple[int, Callable[[], None]]] = deque()  # by record, in order
        self._syncing = False
        self._sync_ended = trio.Event()  # replaced at each sync
        self._failed = trio.Event()
        self._failure: BaseException | None = None
        self._flush_wanted = trio.Event()
        self._flushed = trio.Event()  # replaced at each flush
        self._flushing = trio.Lock()
        self._pumping = False
        self._hard_state = HardState(Term(0), NodeId(0), LogIndex(0))
        self._barriers = 0
        self._syncs = 0

    def start(self) -> None:
        """Win the election of a group of one, and apply what the log has and the store has not."""
        while self._node.role is not Role.LEADER:
            self._node.tick()
            self._turn()
        self._turn()

    def submit(self, command: Command, done: Callable[[Outcome], None]) -> None:
        """Propose a command at the next pump(); `done` is called when it has been applied."""
        self._batch.append((encode_command(command), command))
        self._waiting.append((command, done))

    def pump(self) -> None:
        """Propose what was submitted, and do all that can be done at once."""
        if self._pumping:
            return  # an outcome's receiver submitted more: the loop below takes it
        self._pumping = True
        try:
            while self._batch:
                batch, self._batch = self._batch, []
                self._node.propose([payload for payload, _ in batch])
                self._turn()
        finally:
            self._pumping = False
        if self._store.pending_rows > _FLUSH_ROWS or self._store.pending_bytes > _FLUSH_BYTES:
            self._flush_wanted.set()

    def _turn(self) -> None:
        while (ready := self._node.ready()) is not None:
            self._perform(ready)
            self._node.advance(ready)

    def _perform(self, ready: Ready) -> None:
        if ready.hard_state is not None:
            self._hard_state = ready.hard_state
            self._wal.append(encode_record(ready.hard_state, ready.entries))
            self._positions.note(self._wal.appended_sequence, ready.entries)
        if ready.must_sync:
            self._wal.sync()
        invariant(not ready.messages, "S2", "a group of one has nobody to write to")
        for entry in ready.committed:
            self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        if entry.kind is not EntryKind.COMMAND:
            self._store.mark_applied(entry.index)
            return
        if not self._waiting:  # replayed from the log
            apply(self._state, entry.index, decode_command(entry.data))
            self._store.mark_applied(entry.index)
            return
        command, done = self._waiting.popleft()
        outcome = apply(self._state, entry.index, command)
        self._store.mark_applied(entry.index)
        done(outcome)

    @property
    def is_durable(self) -> bool:
        """Whether everything in the log would survive a power cut."""
        return self._wal.synced_sequence == self._wal.appended_sequence

    def when_durable(self, done: Callable[[], None]) -> None:
        """Call `done` once everything applied so far would survive a power cut: now, or from a later turn.

        All who wait at once share one sync, and it costs no task: fsync is the slowest thing that programs do
        often, and most of what it took beside the disk was tasks waking each other.
        """
        self._barriers += 1
        if self.is_durable:
            done()
            return
        self._durable_soon.append((self._wal.appended_sequence, done))
        self._sync_soon()

    async def barrier(self) -> None:
        """Return once everything applied so far would survive a power cut."""
        durable = trio.Event()
        self.when_durable(durable.set)
        await durable.wait()

    def _sync_soon(self) -> None:
        """Begin a sync in a thread, unless one is under way: its end begins the next."""
        if self._syncing:
            return
        self._syncing = True
        token = trio.lowlevel.current_trio_token()

        def deliver(result: Result[None]) -> None:
            token.run_sync_soon(self._synced, result)

        trio.lowlevel.start_thread_soon(self._wal.sync, deliver)

    def _synced(self, result: Result[None]) -> None:
        self._syncing = False
        self._syncs += 1
        self._sync_ended.set()
        self._sync_ended = trio.Event()
        if isinstance(result, outcome.Error):
            self._failure = result.error
            self._failed.set()
            return
        self._tell_durable()

    def _tell_durable(self) -> None:
        """Also after a flush, which syncs the log as well."""
        waiting = self._durable_soon
        while waiting and waiting[0][0] <= self._wal.synced_sequence:
            waiting.popleft()[1]()
        if waiting:
            self._sync_soon()

    @property
    def pending_bytes(self) -> int:
        """What is in the log and not yet in the state store's file."""
        return self._store.pending_bytes

    @property
    def is_behind(self) -> bool:
        """Whether more is waiting to be flushed than memory should hold."""
        store = self._store
        return store.pending_rows > _BEHIND * _FLUSH_ROWS or store.pending_bytes > _BEHIND * _FLUSH_BYTES

    async def catch_up(self) -> None:
        """Wait while the state store is behind: its disk is slower than those who ask."""
        while self.is_behind:
            self._flush_wanted.set()
            await self._flushed.wait()

    async def run(self) -> None:
        """Sync now and then, flush the store behind, forget what both have; a failed sync ends it all."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sync_now_and_then)
                nursery.start_soon(self._flush_loop)
                await self._failed.wait()
                if self._failure is not None:
                    raise self._failure
        finally:
            # A sync that was begun must end before the log is closed.
            with trio.CancelScope(shield=True):
                while self._syncing:
                    await self._sync_ended.wait()

    async def _sync_now_and_then(self) -> None:
        while True:
            await trio.sleep(_SYNC_S)
            if not self.is_durable:
                self._sync_soon()

    async def _flush_loop(self) -> None:
        while True:
            with trio.move_on_after(_FLUSH_S):
                await self._flush_wanted.wait()
            self._flush_wanted = trio.Event()
            await self.flush()

    async def flush(self) -> None:
        """Make the state store as durable as the log; then the log may forget."""
        # A flush that was begun must end: shielded, and one at a time (invariant K2).
        with trio.CancelScope(shield=True):
            async with self._flushing:
                await self._flush()

    async def settle(self) -> int:
        """Flush; returns the first record of the log that is still needed beside the state store's file."""
        await self.flush()
        return self._positions.needed_from(self._store.durable_index)

    def cut(self) -> bytes:
        """A record with which a log may begin, in the place of the last one: it stands for all that was applied.

        It repeats the last applied entry without its content: what comes behind needs its index and its term.
        """
        log = self._node.log
        invariant(log.applied == log.last_index, "S3", f"a log is cut between turns: {log.applied}, {log.last_index}")
        return encode_record(self._hard_state, [Entry(log.last_term, log.applied, EntryKind.NO_OP, b"")])

    async def _flush(self) -> None:
        if not self._store.begin_flush():
            return
        await trio.to_thread.run_sync(self._write_flush)
        self._store.end_flush()
        self._tell_durable()
        durable = self._store.durable_index
        await trio.to_thread.run_sync(self._wal.forget_before, self._positions.needed_from(durable))
        self._node.compact(durable)
        flushed, self._flushed = self._flushed, trio.Event()
        flushed.set()

    def _write_flush(self) -> None:
        """In a worker thread: the store must not get ahead of the log."""
        self._wal.sync()
        self._store.write_flush()

    def statistics(self) -> ConsensusStatistics:
        """An immutable snapshot."""
        log = self._node.log
        return ConsensusStatistics(
            term=self._node.term,
            role=self._node.role.value,
            last=log.last_index,
            committed=log.committed,
            applied=log.applied,
            durable=self._store.durable_index,
            records=self._wal.appended_sequence,
            synced_records=self._wal.synced_sequence,
            barriers=self._barriers,
            syncs=self._syncs,
            pending_rows=self._store.pending_rows,
        )
