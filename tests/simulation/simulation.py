"""A whole cluster from one seed: faults, under which nothing may be broken; then a kind world where all must go on."""

import traceback
from typing import Final

import attrs

from dwd.model.checks import InvariantViolated
from dwd.model.ids import NodeId
from dwd.raft import node, progress, replication
from dwd.raft.node import Role
from dwd.raft.quorum import Voters
from dwd.raft.types import Message
from tests.simulation.checkers import Checkers
from tests.simulation.client import Client
from tests.simulation.history import History, Violation
from tests.simulation.machine import Machine
from tests.simulation.network import Network
from tests.simulation.operating import Operator
from tests.simulation.options import TICK, Options
from tests.simulation.process import Surroundings
from tests.simulation.weather import Weather
from tests.simulation.world import World

LIVENESS_TICKS: Final = 400  # after healing, all must have caught up within so many
_SETTLE_TICKS: Final = 60  # what was sent before may still arrive, and retries run out


@attrs.frozen
class Report:
    """What became of one seed."""

    seed: int
    options: str
    failure: str  # empty: none
    steps: int
    ticks: int
    messages: int
    terms: int
    applied: int
    answered: int
    undecided: int
    changes: int
    changes_while_cut: int
    healed_in: int  # ticks from the healing until all had caught up
    happened: dict[str, int]
    digest: int
    trace: tuple[str, ...]


class Cluster:
    """The nodes of one seed, and everything around them."""

    def __init__(self, seed: int, *, tracing: bool) -> None:
        self.world = World(seed, tracing=tracing)
        self.options = Options.drawn(seed, self.world.chance("options"))
        self.history = History()
        self.machines: dict[int, Machine] = {}
        self.checkers = Checkers(self.history, self.machines)
        self.network = Network(self.world, self.options, self._deliver)
        self._around = Surroundings(self.world, self.options, self.network, self.checkers)
        voters = Voters(frozenset(NodeId(number) for number in range(1, self.options.voters + 1)))
        for _ in range(self.options.voters):
            self._add(voters, witness=False)
        spawn = self._spawn
        self.operator = Operator(self.world, self.options, self.network, self.checkers, self.machines, spawn)
        self.weather = Weather(self.world, self.options, self.network, self.machines, self.operator)
        self.clients = [
            Client(number, self.world, self.options, self.network, self.history)
            for number in range(self.options.clients)
        ]
        self._chance = self.world.chance("load")
        self._serve()

    def endure(self) -> None:
        """The phase with faults."""
        for _ in range(self.options.ticks):
            self._begin_operations(self.options.proposals)
            self.weather.blow()
            self.operator.work()
            if self.network.partitioned:
                self.operator.note_cut()
            if self.options.probes:
                self._probe()
            self.world.run_until(self.world.now + TICK)

    def _probe(self) -> None:
        for machine in self.machines.values():
            if machine.running and (machine.node.role is Role.LEADER or self._chance.random() < 0.2):
                machine.probe()

    def heal(self) -> int:
        """The phase without: returns how many ticks it took until everyone had caught up with what came after.

        Raises:
            Violation: somebody did not.
        """
        self.weather.calm = True
        self.network.heal()
        self.world.say("-- all faults end")
        for machine in list(self.machines.values()):
            machine.calm()
        for _ in range(_SETTLE_TICKS):
            self._tell_clients()
            self._begin_operations(0.2)
            self.world.run_until(self.world.now + TICK)
        began, applied, calls = self.world.now, len(self.checkers.applied), len(self.history.calls)
        for tick in range(LIVENESS_TICKS):
            self._tell_clients()
            self._begin_operations(0.3)
            self.world.run_until(began + (tick + 1) * TICK)
            if self._missing(applied, calls) == "":
                return tick
        raise Violation(
            f"Liveness: {LIVENESS_TICKS + _SETTLE_TICKS} ticks after healing: {self._missing(applied, calls)}"
        )

    def _tell_clients(self) -> None:
        """Who is a member now: they would else go on asking those who were removed."""
        leader = self._leader
        if leader is not None:
            members = leader.node.configuration.members
            for client in self.clients:
                client.serve([machine for machine in self.machines.values() if machine.id in members])

    @property
    def _leader(self) -> Machine | None:
        """Who leads in the latest term in which anybody does."""
        leading = [machine for machine in self.machines.values() if machine.running]
        leading = [machine for machine in leading if machine.node.role is Role.LEADER]
        return max(leading, key=lambda machine: machine.node.term, default=None)

    def _missing(self, applied: int, calls: int) -> str:
        """What keeps the cluster from being well, or nothing."""
        leader = self._leader
        if leader is None:
            return "nobody leads"
        configuration = leader.node.configuration
        if configuration.is_joint:
            return f"the configuration is still joint: {configuration}"
        if not configuration.votes(NodeId(leader.id)):
            return f"node {leader.id} leads, and is no voter of {configuration}"
        for number in sorted(configuration.members):
            machine = self.machines[number]
            if not machine.running:
                continue
            log = machine.node.log
            if (log.committed if machine.witness else log.applied) <= applied:
                return f"node {number} has applied {log.applied} of {applied} and more"
        ended = {call.command.client for call in self.history.calls[calls:] if call.outcome is not None}
        waiting = {client.id for client in self.clients} - ended
        return f"clients {sorted(waiting)} hear nothing" if waiting else ""

    def compare(self) -> None:
        """Who has applied as much has the same state.

        Raises:
            Violation: not so.
        """
        states: dict[int, bytes] = {}
        for machine in self.machines.values():
            if machine.process is not None and not machine.witness:
                state = machine.process.registers.encode()
                if states.setdefault(machine.process.registers.applied, state) != state:
                    raise Violation(f"StateHash: node {machine.id} at {machine.process.registers.applied}")

    def _begin_operations(self, share: float) -> None:
        random = self._chance.random
        for client in self.clients:
            if random() < share and not client.busy:
                self.world.after(int(random() * TICK), client.begin)

    def _deliver(self, to: int, message: Message) -> None:
        machine = self.machines.get(to)
        if machine is not None:
            machine.deliver(message)

    def _spawn(self, *, witness: bool) -> Machine:
        machine = self._add(None, witness=witness)
        self._serve()
        return machine

    def _serve(self) -> None:
        for client in self.clients:
            client.serve(list(self.machines.values()))

    def _add(self, voters: Voters | None, *, witness: bool) -> Machine:
        number = len(self.machines) + 1
        machine = Machine(number, voters, self._around, self.machines, witness=witness)
        self.machines[number] = machine
        machine.start()
        return machine


def simulate(seed: int, *, tracing: bool = False) -> Report:
    """Live through one seed."""
    cluster = Cluster(seed, tracing=tracing)
    failure, healed_in, undecided = "", 0, 0
    before = _set_bounds(cluster.options.append_bytes, cluster.options.write_bytes, cluster.options.in_flight)
    try:
        cluster.endure()
        healed_in = cluster.heal()
        cluster.compare()
        undecided = cluster.history.search()
    except (Violation, InvariantViolated) as violation:
        failure = str(violation)
    except Exception as bug:  # noqa: BLE001 a core that raises has failed, whatever it raises: the seed is what counts
        failure = f"{type(bug).__name__}: {traceback.format_exc()}"
    if failure:
        cluster.world.say(f"!! {failure}")
    _set_bounds(*before)
    return _report(cluster, failure, healed_in, undecided)


def _set_bounds(append_bytes: int, write_bytes: int, in_flight: int) -> tuple[int, int, int]:
    """Set the core's bounds for one cluster: at the real ones a short life sees no log in several messages."""
    before = replication.APPEND_BYTES_MAX, node.WRITE_BYTES_MAX, progress.APPENDS_IN_FLIGHT_MAX
    vars(replication)["APPEND_BYTES_MAX"] = append_bytes
    vars(node)["WRITE_BYTES_MAX"] = write_bytes
    vars(progress)["APPENDS_IN_FLIGHT_MAX"] = in_flight
    return before


def _report(cluster: Cluster, failure: str, healed_in: int, undecided: int) -> Report:
    world, checkers = cluster.world, cluster.checkers
    return Report(
        seed=cluster.options.seed,
        options=str(cluster.options),
        failure=failure,
        steps=world.steps,
        ticks=world.now // TICK,
        messages=cluster.network.sent,
        terms=len(checkers.leaders),
        applied=len(checkers.applied),
        answered=cluster.history.answered,
        undecided=undecided,
        changes=cluster.operator.changes,
        changes_while_cut=cluster.operator.changes_while_cut,
        healed_in=healed_in,
        happened=dict(sorted(world.happened.items())),
        digest=checkers.last_digest,
        trace=tuple(world.lines or ()),
    )
