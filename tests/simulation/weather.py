"""The faults: every tick of the world a few dice are thrown. What could not be survived is not done.

A node's disk may be lost for good (wiped, or rotten) only while the others can go on without it: the operator says so.
"""

from collections.abc import Callable, Mapping
from typing import Final

from dwd.raft.node import Role
from tests.simulation.machine import Machine
from tests.simulation.network import Network
from tests.simulation.operating import Operator
from tests.simulation.options import TICK, Options
from tests.simulation.world import World

_FLAPS: Final = 6


class Weather:
    """Throws the dice until it is calmed."""

    def __init__(
        self, world: World, options: Options, network: Network, machines: Mapping[int, Machine], operator: Operator
    ) -> None:
        self._world = world
        self._options = options
        self._network = network
        self._machines = machines  # grows
        self._operator = operator
        self._chance = world.chance("weather")
        self.calm = False
        self._dice: list[tuple[str, float, Callable[[], bool]]] = [
            ("partition", options.partitions, self._partition),
            ("power cut", options.power_cuts, self._power_cut),
            ("kill", options.kills, self._kill),
            ("pause", options.pauses, self._pause),
            ("clock jump", options.jumps, self._jump),
            ("sync error", options.sync_errors, self._fail_sync),
            ("full disk", options.full_disks, self._fill_disk),
            ("rot", options.rot, self._rot),
            ("rotten snapshot", options.rot, self._rot_snapshot),
            ("wipe", options.wipes, self._wipe),
        ]

    def blow(self) -> None:
        """One tick of the world."""
        random = self._chance.random
        for name, rate, act in self._dice:
            if rate and random() < rate / 100 and act():
                self._world.happened[name] += 1
                if self._world.tracing:
                    self._world.say(f"-- {name}")

    def _pick(self) -> Machine | None:
        running = [machine for machine in self._machines.values() if machine.running]
        leading = [machine for machine in running if machine.node.role is Role.LEADER]
        if leading and self._chance.random() < self._options.at_leaders:
            running = leading
        return self._chance.choice(running) if running else None

    def _time(self) -> int:
        return TICK * self._chance.choice((1, 3, 12, 40))

    def _partition(self) -> bool:
        """Cut the nodes in two, in both directions or in one; some cuts come and go."""
        ids = [machine.id for machine in self._machines.values() if not machine.lost]
        if len(ids) < 2:
            return False
        chance = self._chance
        island = set(chance.sample(ids, chance.randint(1, len(ids) - 1)))
        alone = self._pick()
        if alone is not None and chance.random() < self._options.at_leaders:
            island = {alone.id}
        outward_only = chance.random() < self._options.one_way
        links = {
            (one, other)
            for one in ids
            for other in ids
            if (one in island) != (other in island) and (one in island or not outward_only)
        }
        flaps = _FLAPS if chance.random() < self._options.flapping else 0
        self._network.cut(links)
        self._world.after(self._time(), self._mend, links, flaps)
        return True

    def _mend(self, links: set[tuple[int, int]], flaps: int) -> None:
        if self.calm or not self._network.is_cut(links):
            return
        self._network.cut(set())
        if flaps:
            self._world.after(self._chance.randrange(3 * TICK), self._cut_again, links, flaps - 1)

    def _cut_again(self, links: set[tuple[int, int]], flaps: int) -> None:
        if not self.calm and not self._network.partitioned:
            self._network.cut(links)
            self._world.after(self._chance.randrange(6 * TICK), self._mend, links, flaps)

    def _power_cut(self) -> bool:
        """One machine, or all at once."""
        everyone = self._chance.random() < 0.1
        down = 0
        for machine in list(self._machines.values()) if everyone else [self._pick()]:
            if machine is not None and machine.running:
                machine.cut_power(self._time())
                down += 1
        return down > 0

    def _kill(self) -> bool:
        machine = self._pick()
        if machine is None:
            return False
        machine.kill(self._time())
        return True

    def _pause(self) -> bool:
        machine = self._pick()
        if machine is None or machine.paused:
            return False
        machine.pause(self._time())
        return True

    def _jump(self) -> bool:
        machine = self._pick()
        if machine is None:
            return False
        machine.jump(self._chance.choice((3, 11, 30)))
        return True

    def _fail_sync(self) -> bool:
        machine = self._pick()
        if machine is None:
            return False
        machine.storage.sync_fails = True
        return True

    def _fill_disk(self) -> bool:
        machine = self._pick()
        if machine is None:
            return False
        machine.storage.full_until = self._world.now + self._time()
        return True

    def _rot(self) -> bool:
        machine = self._pick()
        return machine is not None and self._operator.can_lose(machine) and machine.rot()

    def _rot_snapshot(self) -> bool:
        machine = self._pick()
        if machine is None or not self._operator.can_lose(machine):
            return False
        return machine.storage.snapshots.rot(self._chance)

    def _wipe(self) -> bool:
        machine = self._pick()
        if machine is None or not self._operator.can_lose(machine):
            return False
        machine.wipe()
        return True
