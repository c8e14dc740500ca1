"""What a command came to. Kept for a session's retries, so these are a format too."""

from typing import TypeAlias

import msgspec

from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode


class Done(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """It happened. `inodes` are those that it touched, as they are now; the one that it is about comes first."""

    inodes: tuple[Inode, ...] = ()
    orphans: tuple[InodeNumber, ...] = ()  # that lost their last name by it
    value: int = 0


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """POSIX declines it; nothing changed. `number` is an errno."""

    number: int


Outcome: TypeAlias = Done | Refused


class _Box(msgspec.Struct, frozen=True, array_like=True):
    outcome: Outcome


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Box)


def pack_outcome(outcome: Outcome) -> bytes:
    """Encode for table Q."""
    return _encoder.encode(_Box(outcome))


def unpack_outcome(raw: bytes) -> Outcome:
    """Decode a value of table Q."""
    return _decoder.decode(raw).outcome
