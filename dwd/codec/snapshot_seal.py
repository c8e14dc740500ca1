"""The page beside a snapshot of the state store: whose it is, what it holds, and what its bytes must be."""

import struct
from typing import Final

import attrs

from dwd.codec.page import seal, unseal
from dwd.model.errors import CorruptStore
from dwd.model.ids import LogIndex, VolumeId

_MAGIC: Final = b"DWSNAPS\0"
_VERSION: Final = 1
_FIELDS: Final = struct.Struct("<16sQQ32s")  # volume, applied index, bytes, BLAKE3


@attrs.frozen
class SnapshotSeal:
    """What a snapshot must be."""

    volume: VolumeId
    applied: LogIndex
    length: int
    digest: bytes


def encode_snapshot_seal(sealed: SnapshotSeal) -> bytes:
    """The page."""
    return seal(_MAGIC, _VERSION, _FIELDS.pack(sealed.volume, sealed.applied, sealed.length, sealed.digest))


def decode_snapshot_seal(page: bytes) -> SnapshotSeal:
    """Parse and verify.

    Raises:
        CorruptStore: the page is damaged.
        FormatTooNew: a newer version wrote it.
    """
    volume, applied, length, digest = _FIELDS.unpack_from(unseal(page, _MAGIC, _VERSION, CorruptStore))
    return SnapshotSeal(VolumeId(volume), LogIndex(applied), length, digest)
