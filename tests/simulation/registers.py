"""The state machine of the simulated nodes: a map of registers, with client sessions.

Rules: apply is a function of state, index and bytes. A session remembers its client's last command and outcome, so a
command that comes twice acts once. A snapshot is the whole state, in one spelling only. The digest is a chain over
everything applied: equal digests at an index mean equal histories, a restored snapshot included.
"""

from enum import IntEnum
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest


class Act(IntEnum):
    """What a command does to its register; a register that nobody wrote holds 0."""

    PUT = 0  # write; the outcome is what was there
    ADD = 1  # the outcome is the sum
    SWAP = 2  # write if the register holds what is expected; the outcome is what was there
    GET = 3  # never logged: reads take the other way


class Command(msgspec.Struct, frozen=True, array_like=True):
    """What a client wants; client and number make it one command however often it is sent."""

    client: int
    number: int
    act: Act
    key: int
    value: int
    expected: int = 0


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What a command's first execution came to, and the index of its entry."""

    index: int
    value: int


class _Session(msgspec.Struct, frozen=True, array_like=True):
    number: int
    outcome: Outcome


class _Image(msgspec.Struct, frozen=True, array_like=True):
    applied: int
    digest: int
    registers: list[tuple[int, int]]
    sessions: list[tuple[int, _Session]]


_encoder: Final = msgspec.msgpack.Encoder()
_command: Final = msgspec.msgpack.Decoder(Command)
_image: Final = msgspec.msgpack.Decoder(_Image)


def encode_command(command: Command) -> bytes:
    """The bytes of an entry."""
    return _encoder.encode(command)


def decode_command(data: bytes) -> Command:
    """What an entry's bytes say."""
    return _command.decode(data)


def perform(act: Act, held: int, value: int, expected: int) -> tuple[int, int]:
    """What a register holds after an act, and what the act's outcome is."""
    match act:
        case Act.PUT:
            return value, held
        case Act.ADD:
            return held + value, held + value
        case Act.SWAP:
            return (value if held == expected else held), held
        case Act.GET:
            return held, held


class Registers:
    """The state after the entries up to `applied`."""

    def __init__(self) -> None:
        self.applied = 0
        self.digest = 0
        self.values: dict[int, int] = {}
        self._sessions: dict[int, _Session] = {}

    def apply(self, index: int, data: bytes) -> tuple[Command, Outcome | None]:
        """Take a command's entry. No outcome: the client has gone on to a later command, nobody waits for this one."""
        command = _command.decode(data)
        session = self._sessions.get(command.client)
        outcome: Outcome | None
        if session is not None and command.number <= session.number:
            outcome = session.outcome if command.number == session.number else None
        else:
            held, value = perform(command.act, self.values.get(command.key, 0), command.value, command.expected)
            self.values[command.key] = held
            outcome = Outcome(index, value)
            self._sessions[command.client] = _Session(command.number, outcome)
        self._chain(index, data, outcome.value if outcome is not None else -1)
        return command, outcome

    def skip(self, index: int, data: bytes) -> None:
        """Take an entry that is not a command."""
        self._chain(index, data, 0)

    def encode(self) -> bytes:
        """The whole state."""
        image = _Image(self.applied, self.digest, sorted(self.values.items()), sorted(self._sessions.items()))
        return _encoder.encode(image)

    @classmethod
    def decode(cls, data: bytes) -> "Registers":
        """The state that encode() wrote."""
        image = _image.decode(data)
        registers = cls()
        registers.applied, registers.digest = image.applied, image.digest
        registers.values = dict(image.registers)
        registers._sessions = dict(image.sessions)
        return registers

    def _chain(self, index: int, data: bytes, value: int) -> None:
        assert index == self.applied + 1, f"entry {index} applied after {self.applied}"
        self.applied = index
        self.digest = xxh3_64_intdigest(b"%d %d %d " % (self.digest, index, value) + data)
