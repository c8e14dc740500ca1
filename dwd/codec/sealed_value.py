"""A small file that holds one value: a header that says what it is, and msgpack.

    offset  bytes
    0       8      magic
    8       4      format version
    12      4      length of the body
    16      8      XXH3-64 of all the others: the 16 bytes before, and the body
    24      -      msgpack

Integers are little-endian.
"""

import struct
from typing import Final, TypeVar

import msgspec
import xxhash

from dwd.codec.undecodable import UNDECODABLE
from dwd.model.errors import CorruptIdentity, FormatTooNew

_FIELDS: Final = struct.Struct("<8sII")
_CHECK: Final = struct.Struct("<Q")
_HEADER_BYTES: Final = _FIELDS.size + _CHECK.size

_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()


def seal_value(magic: bytes, version: int, value: msgspec.Struct) -> bytes:
    """The content of the file."""
    body = _encoder.encode(value)
    fields = _FIELDS.pack(magic, version, len(body))
    return fields + _CHECK.pack(_checksum(fields, body)) + body


def _checksum(fields: bytes, body: bytes) -> int:
    return xxhash.xxh3_64_intdigest(fields + body)


def unseal_value(raw: bytes, magic: bytes, version: int, decoder: "msgspec.msgpack.Decoder[_T]") -> _T:
    """Read the file's content.

    Raises:
        CorruptIdentity: it is damaged or no such file.
        FormatTooNew: a newer version wrote it.
    """
    if len(raw) < _HEADER_BYTES:
        raise CorruptIdentity(f"{len(raw)} bytes are too few")
    fields, body = raw[: _FIELDS.size], raw[_HEADER_BYTES:]
    found_magic, found_version, length = _FIELDS.unpack(fields)
    (check,) = _CHECK.unpack_from(raw, _FIELDS.size)
    if found_magic != magic:
        raise CorruptIdentity(f"it does not begin with the magic {magic.decode()}")
    if _checksum(fields, body) != check:
        raise CorruptIdentity("its bytes do not match their checksum")
    if found_version > version:
        raise FormatTooNew(f"format version {found_version}; this program reads up to {version}: use a newer one")
    if found_version < 1 or len(body) != length:
        raise CorruptIdentity("its header contradicts its body")
    try:
        return decoder.decode(body)
    except UNDECODABLE as error:
        raise CorruptIdentity(f"its body cannot be decoded: {error}") from error
