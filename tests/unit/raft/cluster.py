"""A few nodes in one process, with WALs and states in memory and a network that moves only when it is told to.

Nothing here is left to chance: of nodes that wait for a leader, the one with the lower id stands first.
"""

from collections.abc import Callable

import attrs

from dwd.model.ids import LogIndex, NodeId
from dwd.raft.node import Group, RaftNode, Role
from dwd.raft.quorum import Voters
from dwd.raft.record import Recovery, encode_record
from dwd.raft.types import Entry, EntryKind, Manifest, Message, ReadAnswer, Ready

State = tuple[bytes, ...]  # the commands that were applied
START = LogIndex(0)


@attrs.define
class Member:
    """A node, its disk, and what it has applied."""

    group: Group
    snapshots: dict[bytes, State]  # shared: how content travels is not our matter here
    wal: list[bytes] = attrs.Factory(list)
    state: State = ()
    applied: LogIndex = START
    reads: list[ReadAnswer] = attrs.Factory(list)
    syncs: int = 0
    node: RaftNode = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start."""
        self.restart()

    def restart(self) -> None:
        """Begin again with what the disk holds; memory keeps the whole log."""
        recovery = Recovery(drop_to=LogIndex(0))
        for sequence, payload in enumerate(self.wal, 1):
            recovery.add(sequence, payload)
        if recovery.snapshot is not None and recovery.snapshot.index > self.applied and not self.group.witness:
            self.install(recovery.snapshot)
        applied = recovery.base_index if self.group.witness else self.applied
        self.node = RaftNode(self.group, recovery, applied, lambda _: self.group.node - 1)
        if recovery.snapshot is not None:
            self.node.offer_snapshot(recovery.snapshot)

    def perform(self, ready: Ready) -> list[Message]:
        """What the shell does; returns what it sends."""
        if ready.hard_state is not None:
            self.wal.append(encode_record(ready.hard_state, ready.entries, ready.snapshot))
        self.syncs += ready.must_sync
        if ready.snapshot is not None and not self.group.witness:
            self.install(ready.snapshot)
        for entry in ready.committed:
            self.apply(entry)
        self.reads += ready.reads
        self.node.advance(ready)
        if ready.snapshot is not None:
            self.node.offer_snapshot(ready.snapshot)
        return ready.messages

    def install(self, manifest: Manifest) -> None:
        """Take another's state."""
        self.state, self.applied = self.snapshots[manifest.id], manifest.index

    def apply(self, entry: Entry) -> None:
        """Take a command."""
        assert entry.index == self.applied + 1
        self.applied = entry.index
        if entry.kind is EntryKind.COMMAND:
            self.state = (*self.state, entry.data)

    def take_snapshot(self) -> Manifest:
        """Of what is applied, to give away."""
        log = self.node.log
        term = log.term(log.applied)
        assert term is not None
        name = b"%d@%d" % (log.applied, term)
        self.snapshots[name] = self.state
        manifest = Manifest(log.applied, term, self.node.configuration_at(log.applied), name)
        self.node.offer_snapshot(manifest)
        return manifest


class Cluster:
    """Members, and messages on their way, in the order in which they were sent."""

    def __init__(self, size: int, *, lease_ns: int = 0) -> None:
        self.snapshots: dict[bytes, State] = {}
        self.members: dict[int, Member] = {}
        self.network: list[Message] = []
        self.cut: set[tuple[int, int]] = set()
        voters = Voters(frozenset(NodeId(n) for n in range(1, size + 1)))
        for number in range(1, size + 1):
            self.members[number] = Member(Group(NodeId(number), voters, lease_ns=lease_ns), self.snapshots)

    def __getitem__(self, number: int) -> RaftNode:
        return self.members[number].node

    def join(self, number: int, *, witness: bool = False) -> None:
        """A node starts that knows nobody."""
        self.members[number] = Member(Group(NodeId(number), None, witness=witness), self.snapshots)

    def turn(self, number: int) -> list[Ready]:
        """Perform all that is ready on a node."""
        done: list[Ready] = []
        member = self.members[number]
        while (ready := member.node.ready()) is not None:
            self.network += member.perform(ready)
            done.append(ready)
        return done

    def deliver(self, wanted: Callable[[Message], bool] = lambda _: True) -> list[Message]:
        """Move what is on its way now and wanted; what is cut off is lost. The receivers do not act yet."""
        moving = [message for message in self.network if wanted(message)]
        self.network = [message for message in self.network if not wanted(message)]
        arrived = [m for m in moving if (m.sender, m.to) not in self.cut and m.to in self.members]
        for message in arrived:
            self.members[message.to].node.step(message)
        return arrived

    def settle(self) -> None:
        """Let everyone act and everything arrive, until nothing moves."""
        for _ in range(1000):
            for number in self.members:
                self.turn(number)
            if not self.network:
                return
            self.deliver()
        raise AssertionError("the cluster does not come to rest")

    def tick(self, times: int = 1, *, only: int | None = None, step_ns: int = 0) -> None:
        """Time passes for all (or one), and everything that follows happens."""
        for _ in range(times):
            for number, member in self.members.items():
                if only in (None, number):
                    now = member.node._member._clock.now + step_ns
                    member.node.tick(now)
            self.settle()

    def elect(self, number: int) -> RaftNode:
        """Let a node stand, and win."""
        node = self[number]
        for _ in range(100):
            if node.role is Role.LEADER:
                return node
            for other in self.members:
                if other == number or self[other].leader != 0:
                    self[other].tick()
            self.settle()
        raise AssertionError(f"node {number} does not come to lead")

    def isolate(self, *numbers: int) -> None:
        """Cut these off from the others, both ways."""
        inside = set(numbers)
        self.cut |= {(a, b) for a in self.members for b in self.members if (a in inside) != (b in inside)}

    def heal(self) -> None:
        """Everyone hears everyone."""
        self.cut.clear()

    @property
    def leader(self) -> RaftNode:
        """The leader of the highest term."""
        leaders = [m.node for m in self.members.values() if m.node.role is Role.LEADER]
        return max(leaders, key=lambda node: node.term)

    def states(self) -> list[State]:
        """Of everyone that has one."""
        return [m.state for m in self.members.values() if not m.group.witness]
