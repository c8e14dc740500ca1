"""Where the bytes of a segment lie: pure arithmetic over a systematic code with contiguous shards.

Shard i holds bytes [i*L, (i+1)*L) of the segment, so a small read touches one shard (D1).
"""

import attrs

from dwd.model.checks import invariant
from dwd.model.ids import ShardIndex


@attrs.frozen
class ShardRange:
    """Bytes [offset, offset+length) of one shard's body."""

    index: ShardIndex
    offset: int
    length: int


def shard_ranges(offset: int, length: int, shard_length: int) -> list[ShardRange]:
    """The pieces that hold bytes [offset, offset+length) of a segment, in the order of the segment."""
    invariant(offset >= 0 and length >= 0, "E6", (offset, length))
    ranges = []
    end = offset + length
    while offset < end:
        index, start = divmod(offset, shard_length)
        piece = min(shard_length - start, end - offset)
        ranges.append(ShardRange(ShardIndex(index), start, piece))
        offset += piece
    return ranges
