"""The page in front of each shard's body: which shard it is, how to decode it, and its block checksums.

Layout of version 1, inside a sealed page (page.py): fields, transform, padding, then a table of 256 block
checksums that ends the page. The transform says how the segment was compressed and encrypted before it was
encoded (D1); version 1 writes zeros there, and a reader that meets anything else refuses.
"""

import struct
from typing import Final

import attrs

from dwd.codec.page import BODY_BYTES, PAGE_BYTES, seal, unseal
from dwd.model.checks import invariant
from dwd.model.errors import CorruptShard, FormatTooNew
from dwd.model.ids import SegmentId, ShardIndex, VolumeId
from dwd.model.limits import BLOCK_BYTES, SEGMENT_BYTES_MAX, SHARDS_MAX
from dwd.model.protection import Protection
from dwd.model.units import div_ceil

HEADER_BYTES: Final = PAGE_BYTES
DIGEST_BYTES: Final = 32

_MAGIC: Final = b"DWSHARD\0"
_VERSION: Final = 1
# volume, segment, shard index, k, m, stored length of the segment (what is cut into shards), its length before
# compression, shard length, block bytes, blake3 of the stored segment
_FIELDS: Final = struct.Struct("<16sQBBBxIIII32s")
# compression, encryption, key id, nonce, authentication tag, digest of the associated data bound to it
_TRANSFORM: Final = struct.Struct("<BB2x16s12s16s32s")
_NO_TRANSFORM: Final = bytes(_TRANSFORM.size)
_BLOCKS_MAX: Final = 256
_TABLE_OFFSET: Final = BODY_BYTES - 8 * _BLOCKS_MAX

invariant(_FIELDS.size + _TRANSFORM.size <= _TABLE_OFFSET, "F2", "fields and table must fit in a page")
invariant(SEGMENT_BYTES_MAX <= _BLOCKS_MAX * BLOCK_BYTES, "F3", "the widest shard must fit in the table")


@attrs.frozen
class ShardHeader:
    """What a shard says of itself."""

    volume: VolumeId
    segment: SegmentId
    index: ShardIndex
    protection: Protection
    segment_length: int
    digest: bytes  # blake3 of the segment: the same in all of its shards
    checksums: tuple[int, ...]  # of the body's blocks

    @property
    def shard_length(self) -> int:
        """Bytes of the body."""
        return self.protection.shard_length(self.segment_length)


def encode_shard_header(header: ShardHeader) -> bytes:
    """The page."""
    invariant(len(header.checksums) == div_ceil(header.shard_length, BLOCK_BYTES), "F4", len(header.checksums))
    fields = _FIELDS.pack(
        header.volume,
        header.segment,
        header.index,
        header.protection.k,
        header.protection.m,
        header.segment_length,
        header.segment_length,
        header.shard_length,
        BLOCK_BYTES,
        header.digest,
    )
    table = struct.pack(f"<{len(header.checksums)}Q", *header.checksums)
    return seal(_MAGIC, _VERSION, (fields + _NO_TRANSFORM).ljust(_TABLE_OFFSET, b"\0") + table)


def decode_shard_header(page: bytes) -> ShardHeader:
    """Parse and verify.

    Raises:
        CorruptShard: the page is damaged, or its fields contradict each other.
        FormatTooNew: it uses what this version does not know.
    """
    body = unseal(page, _MAGIC, _VERSION, CorruptShard)
    volume, segment, index, k, m, length, _, shard_length, block_bytes, digest = _FIELDS.unpack_from(body)
    protection = Protection(k, m)
    if not (k >= 1 and index < protection.width <= SHARDS_MAX):
        raise CorruptShard(f"the header says shard {index} of {k}+{m}")
    if not (length <= SEGMENT_BYTES_MAX and shard_length == protection.shard_length(length)):
        raise CorruptShard(f"the header says shards of {shard_length} bytes for a segment of {length} in {k}+{m}")
    if block_bytes != BLOCK_BYTES:
        raise FormatTooNew(f"the shard has blocks of {block_bytes} bytes; this program reads {BLOCK_BYTES}")
    header = ShardHeader(
        volume=VolumeId(volume),
        segment=SegmentId(segment),
        index=ShardIndex(index),
        protection=protection,
        segment_length=length,
        digest=digest,
        checksums=struct.unpack_from(f"<{div_ceil(shard_length, BLOCK_BYTES)}Q", body, _TABLE_OFFSET),
    )
    if encode_shard_header(header) != page:
        raise FormatTooNew("the shard is compressed, encrypted, or has fields that this program does not know")
    return header
