"""What segments cost on bricks: bytes of a shard, and what each brick holds by the records."""

from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from dwd.codec.shard_header import HEADER_BYTES
from dwd.model.ids import NO_BRICK, BrickId
from dwd.model.segment import Segment


@attrs.frozen
class Holdings:
    """Bytes of shard files."""

    by_brick: Mapping[BrickId, int]
    of_one: int  # a brick that had one shard of every segment would hold so many


def shard_bytes(segment: Segment) -> int:
    """Bytes of each shard's file."""
    return HEADER_BYTES + segment.protection.shard_length(segment.length)


def holdings(segments: Iterable[Segment]) -> Holdings:
    """Count what is on the bricks."""
    held: Counter[BrickId] = Counter()
    of_one = 0
    for segment in segments:
        size = shard_bytes(segment)
        of_one += size
        for brick in segment.bricks:
            held[brick] += size
    held.pop(NO_BRICK, None)
    return Holdings(held, of_one)
