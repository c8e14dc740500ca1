"""The operator: adds, promotes, demotes, replaces, removes nodes, moves the leadership; and what may be lost."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import attrs

from dwd.model.errors import BadRequest, NotLeader, NotSafe, Overloaded
from dwd.model.ids import NodeId
from dwd.raft.configuration import ChangeKind, Configuration, MemberChange
from dwd.raft.node import Role
from tests.simulation.checkers import Checkers
from tests.simulation.machine import Machine
from tests.simulation.network import Network
from tests.simulation.options import Options
from tests.simulation.world import World

_MACHINES_MAX: Final = 12  # in the life of one cluster
_VOTERS_MAX: Final = 7


class Spawn(Protocol):
    """Makes a machine that knows nobody."""

    def __call__(self, *, witness: bool) -> Machine:
        """It runs at once."""


@attrs.define
class _Change:
    """A change that was proposed, and whether the network was cut then."""

    index: int
    term: int
    configuration: Configuration
    cut: bool


class Operator:
    """Throws its dice every tick, and asks whoever believes that it leads."""

    def __init__(
        self,
        world: World,
        options: Options,
        network: Network,
        checkers: Checkers,
        machines: Mapping[int, Machine],
        spawn: Spawn,
    ) -> None:
        self._world = world
        self._options = options
        self._network = network
        self._checkers = checkers
        self._machines = machines
        self._spawn = spawn
        self._chance = world.chance("operator")
        self._proposed: list[_Change] = []
        self._first = frozenset(NodeId(number) for number in machines)

    def work(self) -> None:
        """One tick of the world."""
        random = self._chance.random
        if random() < self._options.conf_changes / 100:
            self._ask(self._change)
        if random() < self._options.transfers / 100:
            self._ask(self._transfer)
        if random() < self._options.snapshots / 100:
            self._snapshot()
        if random() < 0.01:
            self._shut_down()

    def can_lose(self, machine: Machine) -> bool:
        """Whether every configuration that may be in force could go on without this disk, for ever."""
        return all(self._lives(half, witnesses, machine.id) for half, witnesses in self._in_force())

    @property
    def changes(self) -> int:
        """How many changes the cluster has made."""
        return sum(self._made(change) for change in self._proposed)

    @property
    def changes_while_cut(self) -> int:
        """How many of them were proposed while the network was cut, or made while it was."""
        return sum(self._made(change) and change.cut for change in self._proposed)

    def note_cut(self) -> None:
        """The network is cut now: changes under way are changes under partition."""
        for change in self._proposed:
            if not self._made(change):
                change.cut = True

    def _made(self, change: _Change) -> bool:
        applied = self._checkers.applied
        return change.index <= len(applied) and applied[change.index - 1].term == change.term

    def _in_force(self) -> list[tuple[Sequence[NodeId], Sequence[NodeId]]]:
        """Each set of voters that may have to decide, with the witnesses among them."""
        made = [at for at, change in enumerate(self._proposed) if self._made(change)]
        halves: list[tuple[Sequence[NodeId], Sequence[NodeId]]] = []
        if not made:
            halves.append((sorted(self._first), ()))
        for change in self._proposed[made[-1] if made else 0 :]:
            configuration = change.configuration
            halves.append((configuration.voters, configuration.witnesses))
            if configuration.outgoing and not self._left(change):
                halves.append((configuration.outgoing, configuration.witnesses))
        return halves

    def _left(self, change: _Change) -> bool:
        """Whether the joint configuration is behind us: the next entry of its kind was applied."""
        return any(index > change.index for index in self._checkers.configurations)

    def _lives(self, voters: Sequence[NodeId], witnesses: Sequence[NodeId], without: int) -> bool:
        left = [node for node in voters if node != without and self._sound(node)]
        return len(left) > len(voters) // 2 and any(node not in witnesses for node in left)

    def _sound(self, node: int) -> bool:
        machine = self._machines[node]
        return not machine.lost and not machine.doomed

    def _ask(self, act: Callable[[Machine], None]) -> None:
        """Ask one of those who believe that they lead: perhaps one who does not any more."""
        leaders = [machine for machine in self._machines.values() if machine.running and not machine.paused]
        leaders = [machine for machine in leaders if machine.node.role is Role.LEADER]
        if not leaders:
            return
        machine = self._chance.choice(leaders)
        try:
            act(machine)
        except (NotLeader, Overloaded, BadRequest, NotSafe) as refusal:
            self._world.say(f"n{machine.id} refuses: {refusal}")

    def _change(self, leader: Machine) -> None:
        before = leader.node.configuration
        if before.is_joint:
            return
        if self._chance.random() < self._options.big_changes:
            changes = self._many(before)
        else:
            drawn = [self._one(before, leader) for _ in range(self._chance.choice((1, 1, 2)))]
            changes = [change for change in drawn if change is not None]
        wanted = before.changed(changes)
        sizes = len(wanted.voters) <= _VOTERS_MAX
        if not sizes or not self._lives(wanted.voters, wanted.witnesses, 0):
            return
        index = leader.node.propose_change(changes)
        self._checkers.stepped(leader)
        change = _Change(index, leader.node.term, wanted, self._network.partitioned)
        self._proposed.append(change)
        self._world.say(f"n{leader.id} is asked for {wanted} at {index}")
        assert leader.process is not None
        leader.later(0, leader.process.turn)

    def _many(self, before: Configuration) -> list[MemberChange]:
        """Nodes for most voters: the old and the new need not have a majority in common."""
        count = self._chance.randint(1, len(before.voters))
        going = self._chance.sample(before.voters, count)
        room = _MACHINES_MAX - len(self._machines)
        coming = [node for node in before.learners if self._sound(node)][:count]
        coming += [NodeId(self._spawn(witness=False).id) for _ in range(min(room, count - len(coming)))]
        changes = [MemberChange(ChangeKind.VOTER, node) for node in coming]
        kind = self._chance.choice((ChangeKind.REMOVE, ChangeKind.LEARNER))
        return [*changes, *(MemberChange(kind, node) for node in going[: len(coming)])]

    def _one(self, before: Configuration, leader: Machine) -> MemberChange | None:
        """Some change: the lost are replaced before all."""
        chance = self._chance
        lost = [node for node in before.members if not self._sound(node)]
        if lost and chance.random() < 0.6:
            return MemberChange(ChangeKind.REMOVE, chance.choice(sorted(lost)))
        if before.learners and chance.random() < 0.5:
            return MemberChange(ChangeKind.VOTER, chance.choice(before.learners))
        kinds = (ChangeKind.VOTER, ChangeKind.LEARNER, ChangeKind.WITNESS, ChangeKind.REMOVE, ChangeKind.REMOVE)
        kind = chance.choice((*kinds, ChangeKind.LEARNER))
        if kind is ChangeKind.REMOVE:
            node = NodeId(leader.id) if chance.random() < 0.3 else chance.choice(sorted(before.members))
            return MemberChange(kind, node)
        if kind is ChangeKind.LEARNER and chance.random() < 0.4:
            return MemberChange(kind, chance.choice(before.voters))  # a demotion
        if len(self._machines) >= _MACHINES_MAX:
            return None
        return MemberChange(kind, NodeId(self._spawn(witness=kind is ChangeKind.WITNESS).id))

    def _transfer(self, leader: Machine) -> None:
        target = self._chance.choice(leader.node.configuration.voters)
        self._world.say(f"n{leader.id} is asked to hand over to {target}")
        leader.node.transfer(target)
        self._world.happened["transfer"] += 1
        assert leader.process is not None
        leader.later(0, leader.process.turn)

    def _snapshot(self) -> None:
        """A snapshot nobody needed."""
        running = [machine for machine in self._machines.values() if machine.running and not machine.paused]
        if running:
            self._chance.choice(running).ask_for_snapshot()

    def _shut_down(self) -> None:
        """A node that is no member any more and never will be, though it may not know, is turned off one day."""
        wanted = {node for half, _ in self._in_force() for node in half}
        for change in self._proposed:
            wanted |= change.configuration.members
        for machine in self._machines.values():
            gone = machine.id not in self._current_members() and machine.id not in wanted
            if machine.running and gone and self._chance.random() < 0.5:
                machine.shut_down()
                return

    def _current_members(self) -> frozenset[NodeId]:
        made = [change for change in self._proposed if self._made(change)]
        return made[-1].configuration.members if made else self._first
