"""One life of a node: the real RaftNode and its shell, from reading the disk to the end of the process.

Rules are those of Ready: write, sync, install, send, apply, answer, advance. While a sync takes its time, messages,
ticks and requests come in. The process may end between any two steps; what outlives it is its storage.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import attrs
from xxhash import xxh3_128_digest

from dwd.model.errors import CorruptWal, NotLeader, Overloaded
from dwd.model.ids import LogIndex, NodeId
from dwd.raft.node import Group, RaftNode
from dwd.raft.record import Recovery, encode_record
from dwd.raft.types import NOBODY, Append, EntryKind, Heartbeat, InstallSnapshot, Manifest, Message, ReadContext, Ready
from tests.simulation.checkers import Checkers
from tests.simulation.client import Client
from tests.simulation.network import Network
from tests.simulation.options import TICK, Options
from tests.simulation.registers import Act, Command, Outcome, Registers, encode_command
from tests.simulation.storage import Snapshot, Storage
from tests.simulation.world import World


class Stop(Exception):
    """The process ends here, as if by a power cut."""


@attrs.frozen
class Surroundings:
    """What a node stands in."""

    world: World
    options: Options
    network: Network
    checkers: Checkers


class Owner(Protocol):
    """The machine that the process runs on."""

    id: int
    witness: bool

    def later(self, delay: int, event: Callable[[], None]) -> None:
        """Do something after a while, if this process still runs then."""

    def fetch(self, holder: int, snapshot: bytes, done: Callable[[Snapshot], None]) -> None:
        """Get a snapshot's content from another node; it may take long, or fail."""

    def newest_elsewhere(self, after: int, last: int) -> Snapshot | None:
        """The newest snapshot of some other node that has one behind `after`, but not behind `last`."""

    @property
    def crash_points(self) -> bool:
        """Whether the process may end between two steps."""


class Process:
    """A running node."""

    def __init__(self, owner: Owner, group: Group, storage: Storage, around: Surroundings) -> None:
        """Read the disk.

        Raises:
            CorruptWal: it cannot be relied on.
        """
        self.id = owner.id
        self._owner = owner
        self._storage = storage
        self._world, self._options, self._network = around.world, around.options, around.network
        self._checkers = around.checkers
        self._chance = around.world.chance(f"process {owner.id} {around.world.now}")
        self._busy = False
        self._waiting: dict[tuple[int, int], Client] = {}
        self._asked: dict[ReadContext, list[tuple[Command, Client]]] = {}
        self._least: dict[ReadContext, int] = {}  # what was committed when a read was asked for
        self._reads: list[tuple[int, Command, Client]] = []
        self.durable = storage.durable
        self._recover(group)
        self._checkers.started(self)

    def _recover(self, group: Group) -> None:
        storage = self._storage
        records = storage.wal.open()
        newest = storage.snapshots.newest()
        applied = newest.manifest.index if newest is not None else 0
        recovery = Recovery(LogIndex(max(0, applied - self._options.trailing_entries)))
        for sequence, payload in records:
            recovery.add(sequence, payload)
        installing = recovery.snapshot
        if installing is not None and installing.index > applied:
            newest = storage.snapshots.received(installing.id)
            if newest is None:
                raise CorruptWal(f"the snapshot at {installing.index} is gone, and what it stands for")
            storage.snapshots.save(newest)
        if newest is not None:
            applied = newest.manifest.index
        self.registers = Registers()
        if self._owner.witness:
            applied = max(applied, recovery.base_index)
        elif newest is not None:
            self._replace_state(newest)
        self.node = RaftNode(group, recovery, LogIndex(applied), self._chance.randrange)
        storage.durable.replace(recovery.base_index, recovery.entries, recovery.hard_state)
        self._positions = recovery.positions
        if newest is not None:
            self.node.offer_snapshot(newest.manifest)

    # Inputs

    def tick(self, now_ns: int) -> None:
        """Its clock has moved."""
        self.node.tick(now_ns)
        self._checkers.stepped(self)
        self._turn()

    def receive(self, message: Message) -> None:
        """A message has arrived. The manifest of a snapshot reaches the core when its content is here."""
        if isinstance(message, InstallSnapshot):
            identity = message.manifest.id
            if self._storage.snapshots.received(identity) is None:
                self._owner.fetch(message.sender, identity, lambda snapshot: self._fetched(message, snapshot))
                return
        if self._world.tracing:
            self._world.say(f"n{self.id} <- {message}")
        self.node.step(message)
        self._checkers.stepped(self)
        self._turn()

    def _fetched(self, message: Message, snapshot: Snapshot) -> None:
        self._storage.snapshots.receive(snapshot)
        self.receive(message)

    def unreachable(self, node: int) -> None:
        """What was sent to a node could not be delivered."""
        self.node.report_unreachable(NodeId(node))
        self._checkers.stepped(self)
        self._turn()

    def streamed(self, node: int, *, well: bool) -> None:
        """The streaming of a snapshot to a node has ended."""
        self.node.report_snapshot(NodeId(node), ok=well)
        self._checkers.stepped(self)
        self._turn()

    def request(self, command: Command, client: Client, now_ns: int) -> None:
        """A client wants something."""
        try:
            if command.act is Act.GET:
                self._read(command, client, now_ns)
            else:
                self.node.propose([encode_command(command)])
                self._waiting[command.client, command.number] = client
        except (NotLeader, Overloaded):
            client.redirect(self.id, command, self.node.leader)
        self._checkers.stepped(self)
        self._turn()

    def _read(self, command: Command, client: Client, now_ns: int) -> None:
        index = self._read_by_lease(now_ns)
        if index is not None:
            self._reads.append((index, command, client))
            self._answer_reads()
            return
        self._asked.setdefault(self._ask(), []).append((command, client))

    def probe(self, now_ns: int) -> None:
        """Ask as a reader would, for the sake of the checkers alone."""
        self._read_by_lease(now_ns)
        if self.node.leader != NOBODY:
            self._ask()
        self._turn()

    def _read_by_lease(self, now_ns: int) -> LogIndex | None:
        index = self.node.lease_read(now_ns) if self._options.lease else None
        if index is not None:
            self._checkers.reads(self, index, self._checkers.committed)
            self._world.happened["lease read"] += 1
        return index

    def _ask(self) -> ReadContext:
        context = self.node.read_index()
        self._least[context] = self._checkers.committed
        return context

    # What Ready says

    def turn(self) -> None:
        """Do what the core wants done, after an input that did not come through this class."""
        self._checkers.stepped(self)
        self._turn()

    def _turn(self) -> None:
        while not self._busy and (ready := self.node.ready()) is not None:
            self._busy = True
            self._checkers.prepared(self, ready.messages)
            self._write(ready, self._send_early(ready))

    def _write(self, ready: Ready, messages: Sequence[Message]) -> None:
        storage, wait = self._storage, 0
        if ready.hard_state is not None:
            if self._world.now < storage.full_until:
                self._owner.later(storage.full_until - self._world.now, lambda: self._write(ready, messages))
                return
            self._point()
            self._record(ready)
            self._point()
            if ready.must_sync and self._options.sync:
                wait = self._chance.randrange(self._options.sync)
        if wait:
            self._owner.later(wait, lambda: self._finish(ready, messages))
        else:
            self._finish(ready, messages)

    def _send_early(self, ready: Ready) -> Sequence[Message]:
        """Send what may leave before the write: what a leader sends, if its term is durable. Returns the rest."""
        promise = ready.hard_state
        known = promise is None or (promise.term, promise.vote) == (self.durable.term, self.durable.vote)
        if not self._options.early or not known:
            return ready.messages
        self._send([message for message in ready.messages if isinstance(message, Append | Heartbeat)])
        return [message for message in ready.messages if not isinstance(message, Append | Heartbeat)]

    def _record(self, ready: Ready) -> None:
        hard_state, storage = ready.hard_state, self._storage
        assert hard_state is not None
        snapshot = ready.snapshot
        self._checkers.writes(self, ready.entries)
        storage.append(encode_record(hard_state, ready.entries, snapshot), hard_state, ready.entries, snapshot)
        self._positions.note(storage.wal.appended, ready.entries, snapshot)
        if self._world.tracing:
            first, last = (ready.entries[0].index, ready.entries[-1].index) if ready.entries else (0, 0)
            self._world.say(f"n{self.id} writes {hard_state} entries {first}..{last} {snapshot or ''}")

    def _finish(self, ready: Ready, messages: Sequence[Message]) -> None:
        if ready.must_sync or self._alone:
            self._storage.sync()
        self._point()
        if ready.snapshot is not None:
            self._install(ready.snapshot)
        self._send(messages)
        self._point()
        self._apply(ready)
        for answer in ready.reads:
            self._world.happened["read round" if self.node.leader == self.id else "follower's read round"] += 1
            if answer.context in self._least:
                self._checkers.reads(self, answer.index, self._least.pop(answer.context))
            for command, client in self._asked.pop(answer.context, ()):
                self._reads.append((answer.index, command, client))
        self.node.advance(ready)
        self._busy = False
        if ready.snapshot is not None and ready.snapshot.index <= self.node.log.applied:
            self.node.offer_snapshot(ready.snapshot)
        self._checkers.stepped(self)
        self._answer_reads()
        self._compact()

    @property
    def _alone(self) -> bool:
        """In a group of one must_sync says less: but here every answer is a promise that a power cut must not break."""
        configuration = self.node.configuration
        return configuration.voters == (self.id,) and not configuration.outgoing

    def _point(self) -> None:
        """The process may end here."""
        if self._owner.crash_points and self._chance.random() < self._options.crash_points:
            raise Stop

    def _install(self, manifest: Manifest) -> None:
        """Put a snapshot in the place of the state. A witness has none, and only keeps it."""
        snapshot = self._storage.snapshots.received(manifest.id)
        assert snapshot is not None, f"{manifest} is to be installed, but its content never came"
        self._storage.snapshots.save(snapshot)
        if not self._owner.witness:
            self._replace_state(snapshot)
        self._world.happened["snapshot installed"] += 1

    def _replace_state(self, snapshot: Snapshot) -> None:
        self.registers = Registers.decode(snapshot.state)
        self._checkers.check_digest(self.registers.applied, self.registers.digest)

    def _send(self, messages: Sequence[Message]) -> None:
        self._checkers.sends(self, messages)
        for message in messages:
            if self._network.send(message) or self._chance.random() < 0.7:
                continue
            self._owner.later(TICK, partial(self.unreachable, message.to))

    def _apply(self, ready: Ready) -> None:
        registers = self.registers
        for entry in ready.committed:
            if entry.kind is EntryKind.COMMAND:
                command, outcome = registers.apply(entry.index, entry.data)
                self._checkers.applies(entry, registers.digest, command, outcome)
                client = self._waiting.pop((command.client, command.number), None)
                if client is not None and outcome is not None:
                    client.answer(self.id, command, outcome)
            else:
                registers.skip(entry.index, entry.data)
                self._checkers.applies(entry, registers.digest, None, None)
            self._point()

    def _answer_reads(self) -> None:
        if not self._reads:
            return
        applied = self.registers.applied
        for index, command, client in self._reads:
            if index <= applied:
                client.answer(self.id, command, Outcome(applied, self.registers.values.get(command.key, 0)))
        self._reads = [read for read in self._reads if read[0] > applied]

    def _compact(self) -> None:
        """Take a snapshot when it is time; then the log may forget, but for a margin."""
        grown = self.node.log.applied - self._storage.snapshots.newest_index
        if grown >= self._options.snapshot_entries or (grown > 0 and self.node.snapshot_wanted):
            self.ask_for_snapshot()

    def ask_for_snapshot(self) -> None:
        """Make one, if this can be done now. A witness gets one from elsewhere."""
        applied = self.registers.applied
        if self._owner.witness:
            snapshot = self._owner.newest_elsewhere(self._storage.snapshots.newest_index, self.node.log.applied)
            if snapshot is not None:
                self._keep_snapshot(snapshot)
        elif not self._busy and self._storage.snapshots.newest_index < applied == self.node.log.applied:
            # Else a snapshot from elsewhere is about to be installed: the core's log begins behind this state.
            term = self.node.log.term(LogIndex(applied))
            assert term is not None
            state = self.registers.encode()
            configuration = self.node.configuration_at(LogIndex(applied))
            manifest = Manifest(LogIndex(applied), term, configuration, xxh3_128_digest(state))
            self._keep_snapshot(Snapshot(manifest, state))

    def replace_snapshot(self) -> None:
        """The one that was offered cannot be read, or is gone: offer an older one, and make another."""
        newest = self._storage.snapshots.newest()
        if newest is not None and newest.manifest.index >= self.node.log.base_index:
            self.node.offer_snapshot(newest.manifest)
        self.ask_for_snapshot()

    def _keep_snapshot(self, snapshot: Snapshot) -> None:
        storage, index = self._storage, snapshot.manifest.index
        storage.sync()
        storage.snapshots.save(snapshot)
        self._point()
        self.node.offer_snapshot(snapshot.manifest)
        self.node.compact(LogIndex(max(0, index - self._options.trailing_entries)))
        storage.wal.forget_before(self._positions.needed_from(LogIndex(storage.snapshots.oldest_index)))
        self._checkers.stepped(self)
        self._world.happened["snapshot taken"] += 1
