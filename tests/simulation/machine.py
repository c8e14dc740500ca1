"""A simulated computer: one disk, one clock, and the lives of one node's process."""

from collections.abc import Callable, Mapping
from typing import Final

from dwd.model.errors import CorruptWal
from dwd.model.ids import NodeId
from dwd.raft.node import Group, RaftNode
from dwd.raft.quorum import Voters
from dwd.raft.types import Message
from tests.simulation.checkers import DurableLog
from tests.simulation.client import Client
from tests.simulation.options import TICK
from tests.simulation.process import Process, Stop, Surroundings
from tests.simulation.registers import Command
from tests.simulation.storage import Snapshot, Storage, SyncFailed

UNIT_NS: Final = 1_000_000  # of virtual time: a tick is a tenth of a second
_FETCH_PATIENCE: Final = 30 * TICK


class Machine:
    """One node, running or not."""

    def __init__(
        self,
        number: int,
        voters: Voters | None,
        around: Surroundings,
        others: Mapping[int, "Machine"],
        *,
        witness: bool,
    ) -> None:
        self.id = number
        self.witness = witness
        self.paused = False
        self.lost = False  # its disk, for good
        self.doomed = False  # its disk is damaged: the next start will see
        self.process: Process | None = None
        self._around = around
        self._world = around.world
        self._others = others
        self._chance = around.world.chance(f"machine {number}")
        self._rate = 1 + (self._chance.random() - 0.5) * around.options.drift
        self._born_ns = self._chance.randrange(1 << 40)
        lease_ns = around.options.lease * TICK * UNIT_NS
        patience = self._chance.choice((0, 0, 0, 1))
        self._group = Group(NodeId(number), voters, witness=witness, patience=patience, lease_ns=lease_ns)
        self.storage = Storage()
        self._backlog: list[Callable[[], None]] = []
        self._fetching: dict[bytes, int] = {}
        self._calm = False

    @property
    def running(self) -> bool:
        """Whether its process lives, if perhaps paused."""
        return self.process is not None

    @property
    def node(self) -> RaftNode:
        """The core of the running process."""
        assert self.process is not None
        return self.process.node

    @property
    def durable(self) -> DurableLog:
        """What a power cut would leave."""
        return self.storage.durable

    @property
    def crash_points(self) -> bool:
        """Whether the process may end between two steps."""
        return not self._calm

    # Life and death

    def start(self) -> None:
        """Begin a process, unless the disk is damaged."""
        if self.lost or self.process is not None:
            return
        try:
            process = Process(self, self._group, self.storage, self._around)
        except CorruptWal as damage:
            self._world.say(f"n{self.id} cannot start: {damage}")
            self.lost = True
            return
        self.process, self.paused, self._backlog = process, False, []
        self._fetching.clear()
        log = process.node.log
        self._world.say(f"n{self.id} starts: term {process.node.term}, log {log.base_index}..{log.last_index}")
        self._world.after(1 + self._chance.randrange(TICK), self._tick, process)

    def kill(self, away: int) -> None:
        """End the process; what it wrote is in the file."""
        self._end("is killed", away)

    def cut_power(self, away: int) -> None:
        """End the process; what was not synced may be lost."""
        self.storage.lose_unsynced(self._chance)
        self._end("loses power", away)

    def wipe(self) -> None:
        """Lose the disk, for good."""
        self.lost = True
        self._end("is wiped", 0)

    def shut_down(self) -> None:
        """End it for good: it is no member any more."""
        self.lost = True
        self._end("is shut down", 0)

    def pause(self, length: int) -> None:
        """SIGSTOP: nothing is lost, nothing happens."""
        assert self.process is not None
        self.paused = True
        self._world.say(f"n{self.id} pauses for {length}")
        self._world.after(length, self._resume, self.process)

    def jump(self, ticks: int) -> None:
        """Its timer fires many times at once."""
        process = self.process
        for _ in range(ticks):
            self._guard(process, self._tick_once)

    def rot(self) -> bool:
        """Flip a bit in the log."""
        self.doomed |= self.storage.wal.rot(self._chance)
        return self.doomed

    def calm(self) -> None:
        """From now on nothing goes wrong here."""
        self._calm = True
        self._rate = 1.0
        self.storage.sync_fails = False
        self.storage.full_until = 0
        if self.paused:
            self._resume(self.process)
        self.start()

    def _end(self, how: str, away: int) -> None:
        self.process = None
        self._world.say(f"n{self.id} {how}")
        if not self.lost:
            self._world.after(away, self.start)

    def _resume(self, process: Process | None) -> None:
        if process is not self.process or not self.paused:
            return
        self.paused = False
        self._world.say(f"n{self.id} resumes")
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            self._guard(process, event)

    # What reaches the process

    def _guard(self, process: Process | None, event: Callable[[], None]) -> None:
        """Let something happen to a process: now, or when it resumes; or never, if it has ended."""
        if process is None or process is not self.process:
            return
        if self.paused:
            self._backlog.append(event)
            return
        try:
            event()
        except (Stop, SyncFailed):
            self.cut_power(TICK * self._chance.choice((0, 1, 5, 40)))

    def later(self, delay: int, event: Callable[[], None]) -> None:
        """Do something after a while, if the process that asks still runs then."""
        self._world.after(delay, self._guard, self.process, event)

    def _tick(self, process: Process) -> None:
        if process is not self.process:
            return
        if not self.paused:
            self._guard(process, self._tick_once)
        self._world.after(max(1, int(TICK / self._rate)), self._tick, process)

    def _tick_once(self) -> None:
        assert self.process is not None
        self.process.tick(self._now_ns)

    @property
    def _now_ns(self) -> int:
        return self._born_ns + int(self._world.now * self._rate * UNIT_NS)

    def deliver(self, message: Message) -> None:
        """A message from another node."""
        process = self.process
        if process is not None:
            self._guard(process, lambda: process.receive(message))

    def request(self, command: Command, client: Client) -> None:
        """A client's request."""
        process = self.process
        if process is not None:
            self._guard(process, lambda: process.request(command, client, self._now_ns))

    def fetch(self, holder: int, snapshot: bytes, done: Callable[[Snapshot], None]) -> None:
        """Get a snapshot's content from another node: three journeys, each of which may fail."""
        if self._fetching.get(snapshot, 0) > self._world.now:
            return
        self._fetching[snapshot] = self._world.now + _FETCH_PATIENCE
        process, source, network = self.process, self._others[holder], self._around.network

        def arrive(content: Snapshot) -> None:
            self._guard(process, lambda: done(content))
            network.call(self.id, holder, lambda: source.streamed(self.id, well=True))

        def provide() -> None:
            content = source.provide(snapshot)
            if content is None or not network.call(holder, self.id, lambda: arrive(content)):
                source.streamed(self.id, well=False)

        network.call(self.id, holder, provide)

    def probe(self) -> None:
        """Ask as a reader would."""
        process = self.process
        if process is not None:
            self._guard(process, lambda: process.probe(self._now_ns))

    def provide(self, identity: bytes) -> Snapshot | None:
        """One of our snapshots, if it is there and whole; if it is damaged, another must be made."""
        process = self.process
        if process is None:
            return None
        content = self.storage.snapshots.find(identity)
        if content is None:
            self._guard(process, process.replace_snapshot)
        return content

    def newest_elsewhere(self, after: int, last: int) -> Snapshot | None:
        """The newest snapshot of some other node that has one behind `after`, but not behind `last`."""
        others = [other for other in self._others.values() if other.running and other.id != self.id]
        found = [other.storage.snapshots.newest() for other in others]
        fit = [snapshot for snapshot in found if snapshot is not None and after < snapshot.manifest.index <= last]
        return self._chance.choice(fit) if fit and self._chance.random() < 0.1 else None

    def ask_for_snapshot(self) -> None:
        """The operator wants one."""
        process = self.process
        if process is not None:
            self._guard(process, process.ask_for_snapshot)

    def streamed(self, follower: int, *, well: bool) -> None:
        """The streaming of a snapshot to a follower has ended."""
        process = self.process
        if process is not None:
            self._guard(process, lambda: process.streamed(follower, well=well))
