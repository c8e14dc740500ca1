"""Which copies of the metadata count: the file `mirrors` in the data folder and on every brick.

A sealed value (dwd.codec.sealed_value) with the magic "dwfs-set". Each change has a higher generation, and is durable
before anything is promised that only the copies of the new generation hold.
"""

from typing import Final

import msgspec

from dwd.codec.sealed_value import seal_value, unseal_value
from dwd.codec.volume_identity import VolumeIdentity
from dwd.model.ids import BrickId

VERSION: Final = 1
_MAGIC: Final = b"dwfs-set"


class MirrorSet(msgspec.Struct, frozen=True, array_like=True):
    """The data folder's own copy always counts, beside these."""

    generation: int  # 1 of the first
    bricks: tuple[BrickId, ...]  # in ascending order
    wanted: int | None  # so many mirrors were asked for; None: as many as the protection bears losses, and one
    identity: VolumeIdentity


_decoder = msgspec.msgpack.Decoder(MirrorSet)


def encode_mirror_set(mirrors: MirrorSet) -> bytes:
    """The content of the file."""
    return seal_value(_MAGIC, VERSION, mirrors)


def decode_mirror_set(raw: bytes) -> MirrorSet:
    """Read the file's content.

    Raises:
        CorruptIdentity: it is damaged or no such file.
        FormatTooNew: a newer version wrote it.
    """
    return unseal_value(raw, _MAGIC, VERSION, _decoder)
