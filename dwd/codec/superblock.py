"""The page that says which brick this is. A brick keeps two copies; either suffices."""

import struct
from typing import Final

import attrs

from dwd.codec.page import seal, unseal
from dwd.model.errors import BrickFault, FormatTooNew
from dwd.model.ids import BrickId, VolumeId

_MAGIC: Final = b"DWBRICK\0"
_VERSION: Final = 1
_FIELDS: Final = struct.Struct("<16sQ16sQ")  # volume, brick, uuid, time of creation in ns


@attrs.frozen
class Superblock:
    """The identity of a brick."""

    volume: VolumeId
    brick: BrickId
    uuid: bytes  # 16 random bytes: tells two folders apart that were given one brick's number
    created_ns: int

    def __str__(self) -> str:
        """How messages name it."""
        return f"brick {self.brick} of volume {self.volume.hex()}"


def encode_superblock(superblock: Superblock) -> bytes:
    """The page."""
    return seal(
        _MAGIC,
        _VERSION,
        _FIELDS.pack(superblock.volume, superblock.brick, superblock.uuid, superblock.created_ns),
    )


def decode_superblock(page: bytes) -> Superblock:
    """Parse and verify.

    Raises:
        BrickFault: the page is damaged.
        FormatTooNew: a newer version wrote it.
    """
    volume, brick, uuid, created_ns = _FIELDS.unpack_from(unseal(page, _MAGIC, _VERSION, BrickFault))
    superblock = Superblock(volume=VolumeId(volume), brick=BrickId(brick), uuid=uuid, created_ns=created_ns)
    if encode_superblock(superblock) != page:
        raise FormatTooNew("the superblock has fields that this program does not know")
    return superblock
