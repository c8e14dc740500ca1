"""Shards that were computed, kept for the next reads of a stream: a shard never changes, so they are never stale.

Rules: bounded by bytes; the least recently read goes first.
"""

from collections import OrderedDict
from typing import Final, TypeAlias

from dwd.ec.isal import Buffer
from dwd.ec.layout import ShardRange
from dwd.model.ids import SegmentId, ShardIndex
from dwd.model.units import KIB, MIB

_BYTES_MAX: Final = 32 * MIB
_ASKED_MAX: Final = 256  # shards of which we know that they were asked for
_STREAM_BYTES: Final = 64 * KIB  # of one read: from here on a read at a shard's start is taken for a stream's

_Key: TypeAlias = tuple[SegmentId, ShardIndex]


class ComputedShards:
    """Whole bodies of shards."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[_Key, Buffer] = OrderedDict()
        self._asked: OrderedDict[_Key, None] = OrderedDict()
        self._bytes = 0
        self.any = False  # whether it is worth looking: nobody pays for this while all bricks are well

    def find(self, segment: SegmentId, part: ShardRange) -> bytes | None:
        """A range of a shard, if it is kept."""
        body = self._bodies.get((segment, part.index))
        if body is None:
            return None
        self._bodies.move_to_end((segment, part.index))
        return bytes(memoryview(body)[part.offset : part.offset + part.length])

    def keep(self, segment: SegmentId, index: ShardIndex, body: Buffer) -> None:
        """Keep a whole shard."""
        key = (segment, index)
        if key not in self._bodies:
            self._bytes += len(body)
        self._bodies[key] = body
        self.any = True
        while self._bytes > _BYTES_MAX:
            self._bytes -= len(self._bodies.popitem(last=False)[1])

    def is_streamed(self, segment: SegmentId, part: ShardRange) -> bool:
        """Whether a shard is worth computing whole: it is read from its start, or was asked for before."""
        key = (segment, part.index)
        known = key in self._asked
        self._asked[key] = None
        self._asked.move_to_end(key)
        if len(self._asked) > _ASKED_MAX:
            self._asked.popitem(last=False)
        return known or (part.offset == 0 and part.length >= _STREAM_BYTES)
