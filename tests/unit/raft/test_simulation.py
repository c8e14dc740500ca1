"""Whole groups on a simulated network and disk, with faults drawn from a seed: the safety rules hold at every step.

A failing seed is a reproduction: put it into SEEDS_THAT_FAILED_ONCE. Safety is checked under faults; then everything
is healed and the group must make progress.
"""

import heapq
import random

import attrs
import msgspec
import pytest

from dwd.model.errors import NotLeader
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.node import Group, RaftNode, Role
from dwd.raft.quorum import Voters
from dwd.raft.record import Recovery, encode_record
from dwd.raft.types import Entry, Message, Ready

SEEDS_THAT_FAILED_ONCE: tuple[int, ...] = ()
DECODER = msgspec.msgpack.Decoder(Message)


class PowerCut(Exception):
    """The simulated node stops here."""


@attrs.define
class Faults:
    """How bad this seed's world is."""

    drop: float
    double: float
    delay_max: int
    crash: float
    partition: float

    @classmethod
    def drawn(cls, chance: random.Random) -> "Faults":
        """Some worlds are calm, some are not."""
        return cls(
            drop=chance.choice((0, 0.05, 0.3)),
            double=chance.choice((0, 0.1)),
            delay_max=chance.choice((1, 3, 12)),
            crash=chance.choice((0, 0.002, 0.02, 0.06)),
            partition=chance.choice((0, 0.01, 0.05)),
        )


class Machine:
    """A node with its disk and its state machine, which both survive the node."""

    def __init__(self, number: int, cluster: "Cluster") -> None:
        self.id = NodeId(number)
        self.cluster = cluster
        self.synced: list[bytes] = []
        self.unsynced: list[bytes] = []
        self.durable_applied = LogIndex(0)
        self.down_until = 0
        self.inbox: list[Message] = []
        self.start()

    def start(self) -> None:
        """Recover from the disk."""
        recovery = Recovery(drop_to=LogIndex(0))
        for sequence, payload in enumerate(self.synced, 1):
            recovery.add(sequence, payload)
        self.on_disk = Recovery(drop_to=LogIndex(0))
        for sequence, payload in enumerate(self.synced, 1):
            self.on_disk.add(sequence, payload)
        draw = self.cluster.chance.randrange
        self.node = RaftNode(Group(self.id, self.cluster.voters), recovery, self.durable_applied, draw)
        self.alive = True

    def crash(self) -> None:
        """Lose what was not synced, or some of it."""
        chance = self.cluster.chance
        self.synced += self.unsynced[: chance.randint(0, len(self.unsynced))]
        self.unsynced = []
        self.alive = False
        self.down_until = self.cluster.now + chance.choice((0, 1, 5, 40))

    def turn(self) -> None:
        """Perform every Ready, with a chance of a power cut between any two of its steps."""
        while (ready := self.node.ready()) is not None:
            self.maybe_cut()
            self.write(ready)
            self.maybe_cut()
            self.meanwhile()
            self.cluster.send(ready.messages)
            self.maybe_cut()
            for entry in ready.committed:
                self.cluster.check_applied(entry)
            self.node.advance(ready)
            if ready.committed and self.cluster.chance.random() < 0.2:
                self.durable_applied = self.node.log.applied
            self.cluster.check_leader(self)

    def meanwhile(self) -> None:
        """While the disk works, messages and proposals come in."""
        if self.cluster.chance.random() < 0.3:
            self.cluster.propose(self)
            while self.inbox and self.cluster.chance.random() < 0.7:
                self.node.step(self.inbox.pop())

    def write(self, ready: Ready) -> None:
        """The WAL."""
        if ready.hard_state is not None:
            self.unsynced.append(encode_record(ready.hard_state, ready.entries))
            self.maybe_cut()
        if ready.must_sync:
            for payload in self.unsynced:
                self.synced.append(payload)
                self.on_disk.add(len(self.synced), payload)
            self.unsynced = []

    def maybe_cut(self) -> None:
        """Perhaps stop here."""
        if self.cluster.chance.random() < self.cluster.faults.crash:
            raise PowerCut


class Cluster:
    """Machines, the network between them, and what must be true of them all."""

    def __init__(self, seed: int, size: int) -> None:
        self.chance = random.Random(seed)
        self.faults = Faults.drawn(self.chance)
        self.voters = Voters(frozenset(NodeId(n) for n in range(1, size + 1)))
        self.now = 0
        self.queue: list[tuple[int, int, bytes]] = []
        self.sent = 0
        self.cut: set[tuple[int, int]] = set()
        self.leaders: dict[Term, NodeId] = {}
        self.history: dict[LogIndex, Entry] = {}
        self.proposed = 0
        self.machines = {n: Machine(n, self) for n in range(1, size + 1)}

    def send(self, messages: list[Message]) -> None:
        """Lose, double and delay."""
        for message in messages:
            if (message.sender, message.to) in self.cut or self.chance.random() < self.faults.drop:
                continue
            for _ in range(2 if self.chance.random() < self.faults.double else 1):
                self.sent += 1
                at = self.now + self.chance.randint(1, self.faults.delay_max)
                heapq.heappush(self.queue, (at, self.sent, msgspec.msgpack.encode(message)))

    def step(self) -> None:
        """One tick of the world."""
        self.now += 1
        self.disturb()
        arrived = []
        while self.queue and self.queue[0][0] <= self.now:
            arrived.append(DECODER.decode(heapq.heappop(self.queue)[2]))
        for machine in self.machines.values():
            if not machine.alive:
                if self.now < machine.down_until:
                    continue
                machine.start()
            machine.inbox = [message for message in arrived if message.to == machine.id]
            self.run(machine)

    def run(self, machine: Machine) -> None:
        """What one machine does in one tick."""
        try:
            if self.chance.random() < 0.95:  # clocks are not equally fast
                machine.node.tick()
            while machine.inbox:
                machine.node.step(machine.inbox.pop())
                if self.chance.random() < 0.3:
                    machine.turn()
            self.propose(machine)
            machine.turn()
        except PowerCut:
            machine.crash()

    def propose(self, machine: Machine) -> None:
        """Every command is another, so that a lost or doubled one shows."""
        if self.chance.random() < 0.3:
            batch = [b"%d" % (self.proposed + n) for n in range(self.chance.randint(1, 3))]
            try:
                machine.node.propose(batch)
            except NotLeader:
                return
            self.proposed += len(batch)

    def disturb(self) -> None:
        """Cut some links, in one direction or both, or mend them all."""
        if self.chance.random() < self.faults.partition:
            ids = list(self.machines)
            island = set(self.chance.sample(ids, self.chance.randint(1, len(ids) - 1)))
            one_way = self.chance.random() < 0.3
            self.cut = {
                (a, b) for a in ids for b in ids if (a in island) != (b in island) and (not one_way or a in island)
            }
        elif self.chance.random() < self.faults.partition:
            self.cut = set()

    def check_leader(self, machine: Machine) -> None:
        """Election safety and leader completeness."""
        node = machine.node
        if node.role is not Role.LEADER:
            return
        if node.term not in self.leaders:
            for index, entry in self.history.items():
                assert node.log.term(index) == entry.term, f"leader of term {node.term} lacks committed {index}"
        assert self.leaders.setdefault(node.term, machine.id) == machine.id, f"two leaders in term {node.term}"

    def check_applied(self, entry: Entry) -> None:
        """State machine safety, and committed means durable on a quorum."""
        if entry.index not in self.history:
            holders = sum(self.has_on_disk(machine, entry) for machine in self.machines.values())
            assert holders > len(self.machines) // 2, f"{entry} applied, but on {holders} disks"
        assert self.history.setdefault(entry.index, entry) == entry, f"two commands at {entry.index}"

    @staticmethod
    def has_on_disk(machine: Machine, entry: Entry) -> bool:
        """Whether a power cut would leave the entry on this machine."""
        log = machine.on_disk.entries
        return entry.index <= len(log) and log[entry.index - 1] == entry

    def check_logs(self) -> None:
        """Log matching: where two logs have an entry of the same term, all before it is equal."""
        logs = [machine.node.log.slice(1, machine.node.log.last_index, 1 << 40) for machine in self.machines.values()]
        for one in logs:
            for other in logs:
                common = min(len(one), len(other))
                agree = [one[at].term == other[at].term for at in range(common)]
                last = max((at for at in range(common) if agree[at]), default=-1)
                assert one[: last + 1] == other[: last + 1]

    def heal(self) -> None:
        """From now on the world is kind."""
        self.cut = set()
        self.faults = Faults(drop=0, double=0, delay_max=1, crash=0, partition=0)
        for machine in self.machines.values():
            machine.down_until = 0


def simulate(seed: int, size: int, ticks: int) -> Cluster:
    """Faults, then a healed world in which everyone must catch up with a new command."""
    cluster = Cluster(seed, size)
    for tick in range(ticks):
        cluster.step()
        if tick % 25 == 0:
            cluster.check_logs()
    cluster.heal()
    before = max(cluster.history, default=0)
    for _ in range(120):
        cluster.step()
    cluster.check_logs()
    applied = [machine.node.log.applied for machine in cluster.machines.values()]
    assert min(applied) > before, f"no progress after healing: {applied}, was {before}"
    return cluster


@pytest.mark.parametrize("block", range(8))
def test_three_nodes_under_faults(block: int) -> None:
    """No seed breaks safety, and every group makes progress when it is healed."""
    for seed in range(block * 20, block * 20 + 20):
        simulate(seed, 3, 150)


@pytest.mark.parametrize("block", range(4))
def test_five_nodes_under_faults(block: int) -> None:
    """The same for five nodes."""
    for seed in range(1000 + block * 10, 1000 + block * 10 + 10):
        simulate(seed, 5, 150)


def test_simulation_is_deterministic() -> None:
    """A seed is a reproduction: the same seed gives the same history."""
    one, other = simulate(7, 3, 150), simulate(7, 3, 150)
    assert one.history == other.history
    assert one.sent == other.sent


def test_simulation_reaches_what_it_should() -> None:
    """The faults do happen: elections, lost proposals, commits under crashes. Otherwise the rest proves little."""
    clusters = [simulate(seed, 3, 150) for seed in range(20)]
    assert sum(len(cluster.leaders) > 2 for cluster in clusters) > 3
    assert sum(len(cluster.history) > 30 for cluster in clusters) > 10
    assert any(len({e.data for e in c.history.values()}) < c.proposed for c in clusters)
