"""The network between nodes: messages are lost, doubled, delayed, reordered; links are cut, in one direction or both.

What is sent is encoded and decoded as on a wire, so that nothing is shared between nodes.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from dwd.raft.types import Message
from tests.simulation.options import TICK, Options
from tests.simulation.world import World

_STRAGGLE: Final = 40 * TICK  # a straggler may come this late

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Message)


class Network:
    """Carries messages to `deliver(to, message)`."""

    def __init__(self, world: World, options: Options, deliver: Callable[[int, Message], None]) -> None:
        self._world = world
        self._chance = world.chance("network")
        self._deliver = deliver
        self._drop = options.drop
        self._double = options.double
        self._delay = options.delay
        self._straggle = options.straggle
        self._cut: set[tuple[int, int]] = set()
        self.partitioned = False
        self.sent = 0

    def send(self, message: Message) -> bool:
        """Carry a message, or lose it, or carry it twice. False: the sender can see that it did not get through."""
        if (message.sender, message.to) in self._cut:
            return False
        random = self._chance.random
        if random() < self._drop:
            return True
        data = _encoder.encode(message)
        for _ in range(2 if random() < self._double else 1):
            self.sent += 1
            self._world.after(self._time_taken(), self._arrive, message.to, data)
        return True

    def call(self, sender: int, to: int, action: Callable[[], None]) -> bool:
        """Carry something that is no message of the core. False: it is lost."""
        if (sender, to) in self._cut or self._chance.random() < self._drop:
            return False
        self._world.after(self._time_taken(), action)
        return True

    def cut(self, links: set[tuple[int, int]]) -> None:
        """From now on these links, each a sender and a receiver, carry nothing; all others do."""
        self._cut = links
        self.partitioned = bool(links)

    def is_cut(self, links: set[tuple[int, int]]) -> bool:
        """Whether this very cut is in force."""
        return self._cut is links

    def heal(self) -> None:
        """From now on everything arrives, once and soon. What is under way still comes when it comes."""
        self.cut(set())
        self._drop = self._double = self._straggle = 0
        self._delay = TICK // 10

    def _time_taken(self) -> int:
        random = self._chance.random
        if random() < self._straggle:
            return int(random() * _STRAGGLE)
        return 1 + int(random() * self._delay)

    def _arrive(self, to: int, data: bytes) -> None:
        self._deliver(to, _decoder.decode(data))
