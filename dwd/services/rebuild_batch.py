"""Rebuild shards of several segments in one thread: the next is read when the last is on its brick.

Rules: a thread and its turns cost more than the reading, computing and writing of a segment does, so what is well
goes in company. Whatever is unusual about a segment leaves it undone, and the others go on. A thread that hangs in a
brick is left behind with all that it has not begun.
"""

import mmap
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.services.brick_calls import BrickCalls, ShardWrite
from dwd.services.shard_making import ShardMaking

_SCRATCHES_MAX: Final = 4  # kept; a segment of 4 MiB at 4+2 takes 6 MiB


@attrs.frozen
class Rebuild:
    """Shards of a segment that are to be made anew, and the bricks that they go to."""

    segment: Segment
    targets: Mapping[ShardIndex, BrickId]

    @property
    def id(self) -> SegmentId:
        """The segment."""
        return self.segment.id

    @property
    def bricks(self) -> tuple[BrickId, ...]:
        """The bricks of the segment once it is done."""
        return tuple(self.targets.get(ShardIndex(i), brick) for i, brick in enumerate(self.segment.bricks))

    @property
    def bytes(self) -> int:
        """That are written."""
        return len(self.targets) * self.segment.protection.shard_length(self.segment.length)


@attrs.frozen
class QuickRebuild:
    """One segment of a batch: how its shards are made, and where each goes."""

    rebuild: Rebuild
    making: ShardMaking
    writes: Mapping[ShardIndex, ShardWrite]

    @property
    def done(self) -> bool:
        """Whether all of its shards are durable where they are to be."""
        return all(write.stored for write in self.writes.values())


class Scratches:
    """Memory to work in, used again by the next batch: new memory costs more than what is done in it.

    Any thread may take and give back. A thread that was left behind keeps what it has until it ends.
    """

    def __init__(self) -> None:
        self._free: deque[memoryview] = deque(maxlen=_SCRATCHES_MAX)

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._free)

    def take(self, length: int) -> memoryview:
        """At least so many bytes, of any content."""
        try:
            scratch = self._free.pop()
        except IndexError:
            return _aligned(length)
        return scratch if len(scratch) >= length else _aligned(length)

    def give_back(self, scratch: memoryview) -> None:
        """It is not used any more."""
        self._free.append(scratch)


def _aligned(length: int) -> memoryview:
    """Memory that begins at a page, which is what disks ask for."""
    return memoryview(mmap.mmap(-1, max(1, length)))


class RebuildBatch:
    """Performed once."""

    def __init__(self, rebuilds: Sequence[QuickRebuild], calls: BrickCalls, scratches: "Scratches") -> None:
        self._rebuilds = rebuilds
        self._calls = calls
        self._scratches = scratches
        self._late = [{index: calls.when_late(write) for index, write in one.writes.items()} for one in rebuilds]
        self._given_up = False

    async def perform(self, patience_s: float) -> None:
        """What came of each is in it. After so long, whatever is not done stays undone."""
        try:
            await self._calls.perform(self._perform, patience_s)
        finally:
            self._end()

    def _perform(self) -> None:
        """In the thread."""
        scratch = self._scratches.take(max(one.making.scratch_bytes for one in self._rebuilds))
        for one, late in zip(self._rebuilds, self._late, strict=True):
            if self._given_up:
                return
            images = one.making.perform(scratch) or {}
            for index, image in images.items():
                one.writes[index].perform(image, late[index])
        self._scratches.give_back(scratch)

    def _end(self) -> None:
        self._given_up = True
        for one in self._rebuilds:
            one.making.give_up()
            for number, seconds in one.making.answers():
                self._calls.note(number, seconds)
            for write in one.writes.values():
                self._calls.end(write)
