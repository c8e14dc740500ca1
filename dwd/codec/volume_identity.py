"""Which volume a data folder holds, what it was made as, and where its bricks are: DATA/identity.

    offset  bytes
    0       8      magic "dwfs-vol"
    8       4      format version (1)
    12      4      length of the body
    16      8      XXH3-64 of all the others: the 16 bytes before, and the body
    24      -      msgpack of VolumeIdentity

Integers are little-endian.
"""

import struct
from typing import Final

import msgspec
import xxhash

from dwd.model.errors import CorruptIdentity, FormatTooNew
from dwd.model.ids import BrickId, NodeId, VolumeId
from dwd.model.protection import Protection

VERSION: Final = 1
_MAGIC: Final = b"dwfs-vol"
_FIELDS: Final = struct.Struct("<8sII")
_CHECK: Final = struct.Struct("<Q")
_HEADER_BYTES: Final = _FIELDS.size + _CHECK.size


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


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(VolumeIdentity)


def encode_identity(identity: VolumeIdentity) -> bytes:
    """The content of the file."""
    body = _encoder.encode(identity)
    fields = _FIELDS.pack(_MAGIC, VERSION, len(body))
    return fields + _CHECK.pack(_checksum(fields, body)) + body


def _checksum(fields: bytes, body: bytes) -> int:
    return xxhash.xxh3_64_intdigest(fields + body)


def decode_identity(raw: bytes) -> VolumeIdentity:
    """Read the file's content.

    Raises:
        CorruptIdentity: it is damaged or no such file.
        FormatTooNew: a newer version wrote it.
    """
    if len(raw) < _HEADER_BYTES:
        raise CorruptIdentity(f"{len(raw)} bytes are too few")
    fields, body = raw[: _FIELDS.size], raw[_HEADER_BYTES:]
    magic, version, length = _FIELDS.unpack(fields)
    (check,) = _CHECK.unpack_from(raw, _FIELDS.size)
    if magic != _MAGIC:
        raise CorruptIdentity("it does not begin with the magic of a dwfs volume")
    if _checksum(fields, body) != check:
        raise CorruptIdentity("its bytes do not match their checksum")
    if version > VERSION:
        raise FormatTooNew(f"format version {version}; this program reads up to {VERSION}: use a newer one")
    if version < 1 or len(body) != length:
        raise CorruptIdentity("its header contradicts its body")
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise CorruptIdentity(f"its body cannot be decoded: {error}") from error
