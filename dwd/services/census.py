"""What lies on a brick, listed a piece at a time and remembered in eight bytes a shard.

A brick of a million shards is common; a set of pairs would take a hundred megabytes for it.
"""

from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator
from itertools import islice
from typing import Final

import trio

from dwd.model.ids import SegmentId, ShardIndex
from dwd.ports import Brick

_PIECE: Final = 512  # shards listed in one turn of a worker thread
_BUCKETS: Final = 256


async def shards_on(brick: Brick) -> AsyncIterator[list[tuple[SegmentId, ShardIndex]]]:
    """Every shard file of a brick, some at a time. Raises BrickFault."""
    listing = brick.list_shards()
    while piece := await trio.to_thread.run_sync(lambda: list(islice(listing, _PIECE))):
        yield piece


class Census:
    """The shards that a brick holds."""

    def __init__(self, before: SegmentId) -> None:
        self.before = before  # segments from this id on may have been written since: it says nothing of them
        # The last byte of the id chooses the bucket, so in the bucket its place is free for the index.
        self._buckets = [array("Q") for _ in range(_BUCKETS)]

    def __contains__(self, shard: tuple[SegmentId, ShardIndex]) -> bool:
        bucket = self._buckets[shard[0] % _BUCKETS]
        packed = _packed(*shard)
        place = bisect_left(bucket, packed)
        return place < len(bucket) and bucket[place] == packed

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    async def take(self, brick: Brick) -> None:
        """List a brick. Raises BrickFault."""
        buckets: list[array[int]] = [array("Q") for _ in range(_BUCKETS)]
        async for piece in shards_on(brick):
            for segment, index in piece:
                buckets[segment % _BUCKETS].append(_packed(segment, index))
        for number, bucket in enumerate(buckets):
            self._buckets[number] = array("Q", sorted(bucket))


def _packed(segment: SegmentId, index: ShardIndex) -> int:
    return segment - segment % _BUCKETS + index
