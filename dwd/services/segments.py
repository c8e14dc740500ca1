"""Segments of a volume on the bricks of this node: where writing, reading and rebuilding meet.

Rules: a segment that write() returned is durable on its bricks, so a command may name it. A read
returns verified bytes or raises; what one brick cannot give is computed from any k others.
"""

from collections.abc import Callable, Collection, Mapping

import trio

from dwd.ec.layout import ShardRange
from dwd.model.errors import BrickFault, NoSpace
from dwd.model.ids import BrickId, SegmentId, ShardIndex, VolumeId
from dwd.model.limits import SEGMENT_BYTES_MAX, SHARDS_MAX
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.ports import Brick
from dwd.services.brick_calls import UNREADABLE, BrickCalls
from dwd.services.bricks import Bricks
from dwd.services.rebuilding import Rebuilder
from dwd.services.segment_counters import SegmentStatistics
from dwd.services.segment_reading import SegmentReader
from dwd.services.segment_writing import SegmentWriter

_WRITES_IN_FLIGHT_MAX = 4  # segments; each holds its bytes and parity, and its shards' worker threads
PAYLOAD_SLACK = SHARDS_MAX * 64  # room behind a segment for padding its last shards


class Segments:
    """All segments of a volume, on the bricks of this node."""

    def __init__(self, volume: VolumeId, bricks: Bricks, protection: Protection) -> None:
        self.brick_set = bricks
        self.protection = protection  # of what is written without saying another
        self.counters = SegmentStatistics()
        self.in_flight: set[SegmentId] = set()  # written or being written, but not yet named by a command
        self.on_damage: Callable[[SegmentId, ShardIndex], None] = _pass_over  # the healer's; never blocks
        self._writing = trio.CapacityLimiter(_WRITES_IN_FLIGHT_MAX)
        self._calls = BrickCalls(bricks)
        self._writer = SegmentWriter(volume, bricks, self._calls, self.counters)
        self._reader = SegmentReader(bricks, self._calls, self.counters, self._damaged)
        self._rebuilder = Rebuilder(volume, bricks, self._calls, self._reader, self.counters)
        self.read_nowait = self._reader.read_nowait
        self.read = self._reader.read
        self.rebuild = self._rebuilder.rebuild
        self.rebuild_quickly = self._rebuilder.rebuild_quickly

    def _damaged(self, segment: SegmentId, index: ShardIndex) -> None:
        self.on_damage(segment, index)

    @property
    def bricks(self) -> Mapping[BrickId, Brick]:
        """The bricks that are here."""
        return self.brick_set.online()

    @property
    def rebuilding(self) -> Collection[SegmentId]:
        """Segments some of whose shards are named by no record yet: what sweeps strays must spare them."""
        return self._rebuilder.in_progress

    async def write(
        self, segment: SegmentId, buffer: bytearray, length: int, wanted: Protection | None = None
    ) -> Segment:
        """Store the first `length` bytes of a buffer, which must have PAYLOAD_SLACK more and stay untouched.

        At what is wanted (None: the volume's default), or else at the strongest that fits now. The caller
        discards the id from `in_flight` once a command has named the segment, or won't.

        Raises:
            NoSpace: the bricks are full; nothing of the segment is left.
            BrickFault: no brick takes anything.
        """
        self.in_flight.add(segment)
        written = None
        try:
            async with self._writing:
                written = await self._writer.write(segment, buffer, length, wanted or self.protection)
        finally:
            if written is None:
                self.in_flight.discard(segment)
        return written

    async def remove(self, segment: Segment) -> None:
        """Delete all shards of a segment. Raises BrickFault."""
        for index, brick in enumerate(segment.bricks):
            await self.remove_shard(segment.id, ShardIndex(index), brick)

    async def remove_shard(self, segment: SegmentId, index: ShardIndex, number: BrickId) -> None:
        """Delete a shard, if its brick is here. Raises BrickFault."""
        brick = self.brick_set.find(number)
        if brick is not None:
            await self._calls.call(brick, lambda: brick.remove_shard(segment, index))

    async def verify(self, segment: Segment) -> list[tuple[ShardIndex, str]]:
        """Read every shard whole; the damaged and missing ones, with what is wrong."""
        found = [(ShardIndex(i), await self.verify_shard(segment, ShardIndex(i))) for i in range(len(segment.bricks))]
        return [(index, problem) for index, problem in found if problem is not None]

    async def verify_shard(self, segment: Segment, index: ShardIndex) -> str | None:
        """Read a shard whole, from the disk; what is wrong with it. The healer hears of it too."""
        brick = self.brick_set.find(segment.bricks[index])
        if brick is None:
            return f"its brick {segment.bricks[index]} is not here"
        try:
            await self._calls.call(brick, lambda: brick.verify_shard(segment.id, index))
        except UNREADABLE as fault:
            await self._reader.report(segment.id, index, brick, fault)
            return str(fault)
        return None

    async def missing_shards(self, segment: Segment) -> list[tuple[ShardIndex, str]]:
        """The shards that are not there or cannot be opened; of the others only the first block is read."""
        missing: list[tuple[ShardIndex, str]] = []
        for index, number in enumerate(segment.bricks):
            problems = [f"shard {index} is on brick {number}, which is not here"]
            part, brick = ShardRange(ShardIndex(index), 0, min(1, segment.length)), self.brick_set.find(number)
            if brick is None or await self._reader.try_shard(segment, part, brick, problems) is None:
                missing.append((part.index, problems[-1]))
        return missing

    async def list_shards(self, number: BrickId) -> list[tuple[SegmentId, ShardIndex]]:
        """Every shard that lies on a brick. Raises BrickFault."""
        brick = self.brick_set.find(number)
        if brick is None:
            raise BrickFault(f"brick {number} is not here: {self.brick_set.condition(number).evidence}")
        return await self._calls.call(brick, lambda: list(brick.list_shards()))


def _pass_over(segment: SegmentId, index: ShardIndex) -> None:
    """Until there is a healer."""


def new_buffer(length: int) -> bytearray:
    """A zeroed buffer that write() can take."""
    if length > SEGMENT_BYTES_MAX:
        raise NoSpace(f"a segment of {length} bytes is over {SEGMENT_BYTES_MAX}")
    return bytearray(length + PAYLOAD_SLACK)
