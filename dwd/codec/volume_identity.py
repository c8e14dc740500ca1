"""Which volume a data folder holds, what it was made as, and where its bricks are: DATA/identity.

A sealed value (dwd.codec.sealed_value) with the magic "dwfs-vol".
"""

from typing import Final

import msgspec

from dwd.codec.sealed_value import seal_value, unseal_value
from dwd.model.ids import BrickId, NodeId, VolumeId
from dwd.model.protection import Protection

VERSION: Final = 1
_MAGIC: Final = b"dwfs-vol"


class BrickPlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a brick is; a path that does not begin with a slash is below the data folder."""

    id: BrickId
    path: str


class VolumeIdentity(msgspec.Struct, frozen=True, array_like=True):
    """What a data folder is."""

    volume: VolumeId
    node: NodeId
    created: int  # ns since 1970
    protection: Protection
    bricks: tuple[BrickPlace, ...]
    made: bool  # False while the volume is in the making: opening it finishes that


_decoder = msgspec.msgpack.Decoder(VolumeIdentity)


def encode_identity(identity: VolumeIdentity) -> bytes:
    """The content of the file."""
    return seal_value(_MAGIC, VERSION, identity)


def decode_identity(raw: bytes) -> VolumeIdentity:
    """Read the file's content.

    Raises:
        CorruptIdentity: it is damaged or no such file.
        FormatTooNew: a newer version wrote it.
    """
    return unseal_value(raw, _MAGIC, VERSION, _decoder)
