"""Clients: each does one operation at a time, tries again elsewhere when it hears nothing, and gives up in the end.

A retry is the same command: it must act once. What a client has given up may still happen, and it never learns.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from tests.simulation.history import Call, History
from tests.simulation.network import Network
from tests.simulation.options import TICK, Options
from tests.simulation.registers import Act, Command, Outcome
from tests.simulation.world import World

_PATIENCE: Final = 8 * TICK  # and up to as much again: then another node is asked
_TRIES: Final = 6
_FIRST: Final = 1000  # number of the first client: no node has it


class Server(Protocol):
    """What a client sees of a node."""

    @property
    def id(self) -> int:
        """Its number."""

    def request(self, command: Command, client: "Client") -> None:
        """Do it, and say so by client.answer(); or say client.redirect()."""


class Client:
    """One client with one session."""

    def __init__(self, number: int, world: World, options: Options, network: Network, history: History) -> None:
        self.id = _FIRST + number
        self._world = world
        self._options = options
        self._network = network
        self._history = history
        self._chance = world.chance(f"client {number}")
        self._servers: Sequence[Server] = ()
        self._number = 0
        self._call: Call | None = None
        self._tries = 0
        self._target = 0
        self._seen: dict[int, int] = {}

    @property
    def busy(self) -> bool:
        """Whether an operation is under way."""
        return self._call is not None

    def serve(self, servers: Sequence[Server]) -> None:
        """These nodes exist now."""
        self._servers = servers

    def begin(self) -> None:
        """Begin an operation of a kind that chance chooses."""
        chance = self._chance
        key = chance.randrange(self._options.keys)
        self._number += 1
        if chance.random() < self._options.reads:
            act, value = Act.GET, 0
        else:
            act = chance.choice((Act.PUT, Act.ADD, Act.SWAP))
            value = 1 if act is Act.ADD else self.id * 10_000 + self._number
        command = Command(self.id, self._number, act, key, value, self._seen.get(key, 0))
        self._call = self._history.begin(command, self._world.now)
        self._tries = 0
        self._try(self._call)

    def answer(self, server: int, command: Command, outcome: Outcome) -> None:
        """A node sends an outcome."""
        self._network.call(server, self.id, lambda: self._hear(command.number, outcome, server))

    def redirect(self, server: int, command: Command, leader: int) -> None:
        """A node says that it is not the one to ask, and perhaps who is."""
        self._network.call(server, self.id, lambda: self._move(command.number, leader))

    def _try(self, call: Call) -> None:
        self._tries += 1
        server = next((one for one in self._servers if one.id == self._target), None)
        if server is None or (self._tries > 1 and self._chance.random() < 0.5):
            server = self._chance.choice(self._servers)
        if call.command.act is Act.GET and self._chance.random() < 0.5:
            server = self._chance.choice(self._servers)
        times = 2 if self._chance.random() < self._options.double else 1
        for _ in range(times):
            self._network.call(self.id, server.id, lambda: server.request(call.command, self))
        patience = _PATIENCE + self._chance.randrange(_PATIENCE)
        self._world.after(patience, self._lose_patience, call.command.number, self._tries)

    def _lose_patience(self, number: int, tries: int) -> None:
        if self._call is None or self._call.command.number != number or self._tries != tries:
            return
        self._target = 0
        if self._tries < _TRIES:
            self._try(self._call)
        else:
            self._call = None

    def _hear(self, number: int, outcome: Outcome, server: int) -> None:
        if self._call is None or self._call.command.number != number:
            return
        self._history.end(self._call, outcome, self._world.now)
        command = self._call.command
        self._seen[command.key] = command.value if command.act is Act.PUT else outcome.value
        if command.act is not Act.GET:
            self._target = server
        self._call = None

    def _move(self, number: int, leader: int) -> None:
        if self._call is None or self._call.command.number != number or leader == 0 or self._tries >= _TRIES:
            return
        self._target = leader
        self._try(self._call)
