"""All shards of a segment, ready for the bricks: digest, parity, block checksums, header pages.

Rules: the data is not copied, so the buffer must stay as it is until the shards are written.
"""

from collections.abc import Sequence
from typing import TypeAlias

import attrs
from blake3 import blake3

from dwd.codec.blocks import block_checksums
from dwd.codec.shard_header import ShardHeader, encode_shard_header
from dwd.ec.reed_solomon import Codec
from dwd.model.checks import invariant
from dwd.model.ids import SegmentId, ShardIndex, VolumeId
from dwd.model.limits import SEGMENT_BYTES_MAX
from dwd.model.protection import Protection

ShardImage: TypeAlias = tuple[bytes, memoryview]  # header page, body: what a shard's file holds


@attrs.frozen
class SegmentImage:
    """A segment as the bricks will hold it."""

    digest: bytes
    shards: Sequence[ShardImage]  # by shard index


def build_shards(
    volume: VolumeId, segment: SegmentId, protection: Protection, buffer: bytearray | memoryview, length: int
) -> SegmentImage:
    """Encode the first `length` bytes of a writable buffer that has room for k whole shards.

    What lies behind them, up to the end of the last shard, is overwritten with zeros.
    """
    shard_length = protection.shard_length(length)
    end = protection.k * shard_length
    view = memoryview(buffer)
    invariant(length <= SEGMENT_BYTES_MAX, "E7", length)
    invariant(len(view) >= end, "E1", (len(view), end))
    view[length:end] = bytes(end - length)
    bodies = [view[i * shard_length : (i + 1) * shard_length] for i in range(protection.k)]
    bodies += Codec(protection).encode(view, shard_length)
    digest = blake3(view[:length]).digest()
    pages = [
        encode_shard_header(
            ShardHeader(
                volume=volume,
                segment=segment,
                index=ShardIndex(index),
                protection=protection,
                segment_length=length,
                digest=digest,
                checksums=block_checksums(body),
            )
        )
        for index, body in enumerate(bodies)
    ]
    return SegmentImage(digest=digest, shards=list(zip(pages, bodies, strict=True)))
