"""Mend shards that a read or the scrub found damaged, at once.

Rules: what is said to be damaged is looked at first: it may have been mended, moved or freed since. The set is bounded;
what finds no room in it is met again by the next read or scrub. What cannot be mended is tried again, slowly.
"""

from collections import ChainMap
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

import attrs
import trio

from dwd.model.errors import BrickFault, NoSpace, SegmentLost
from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.placement.repair import Damaged, plan_repairs
from dwd.services.diagnosis import candidates
from dwd.services.metadata import Metadata
from dwd.services.rebuild_batch import Rebuild
from dwd.services.rehousing import Rehousing
from dwd.services.segments import Segments

_SEGMENTS_MAX: Final = 4096  # waiting; more are dropped, and found again
_AT_ONCE: Final = 2
_RETRY_S: Final = 30.0


@attrs.frozen
class MendingStatus:
    """What was reported since the start, and what came of it."""

    waiting: int  # segments
    stuck: int  # segments that could not be mended, and are tried again
    mended: int  # shards
    failed: int  # attempts: they are repeated
    dropped: int
    problem: str  # why what is stuck could not be mended


class Mender:
    """Takes reports from anybody on the loop; mends in tasks of its own."""

    def __init__(self, metadata: Metadata, segments: Segments, rehousing: Rehousing) -> None:
        self._metadata = metadata
        self._segments = segments
        self._rehousing = rehousing
        self._waiting: dict[SegmentId, set[ShardIndex]] = {}
        self._in_hand: dict[SegmentId, set[ShardIndex]] = {}
        self._later: dict[SegmentId, set[ShardIndex]] = {}  # failed, and waiting to be tried again
        self._reported = trio.Event()
        self._mended = self._failed = self._dropped = 0
        self._problem = ""

    def damaged(self, segment: SegmentId, index: ShardIndex) -> None:
        """A shard could not be read from a brick that is here. Never blocks; may be told often of one shard."""
        if index in self._in_hand.get(segment, ()) or index in self._later.get(segment, ()):
            return
        if segment not in self._waiting and len(self._waiting) >= _SEGMENTS_MAX:
            self._dropped += 1
            return
        self._waiting.setdefault(segment, set()).add(index)
        self._reported.set()

    async def run(self) -> None:
        """Mend for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._reported.wait()
                self._reported = trio.Event()
                failed = await self.mend_all()
                if failed:
                    nursery.start_soon(self._report_again, failed)

    async def _report_again(self, failed: Collection[SegmentId]) -> None:
        await trio.sleep(_RETRY_S)
        for segment in failed:
            for index in self._later.pop(segment, ()):
                self.damaged(segment, index)

    async def mend_all(self) -> set[SegmentId]:
        """Everything that was reported; the segments that could not be mended."""
        failed: set[SegmentId] = set()

        async def work() -> None:
            while self._waiting:
                segment = next((one for one in self._waiting if one not in self._in_hand), None)
                if segment is None:
                    return  # what is reported of those in hand is done by whoever has them
                indices = self._waiting.pop(segment)
                self._in_hand[segment] = indices
                try:
                    if not await self._mend(segment, indices):
                        # At once: an attempt reports the other bad shards of its segment, which would go round.
                        self._later.setdefault(segment, set()).update(indices)
                        failed.add(segment)
                finally:
                    del self._in_hand[segment]

        async with trio.open_nursery() as nursery:
            for _ in range(_AT_ONCE):
                nursery.start_soon(work)
        return failed

    async def _mend(self, number: SegmentId, indices: set[ShardIndex]) -> bool:
        """False: it is to be tried again."""
        segment = self._metadata.state.find_segment(number)
        bad = frozenset() if segment is None else await self._confirmed(segment, indices)
        if segment is None or not bad:
            return True
        bricks = candidates(self._segments.brick_set, within_reserve=True)
        plan = plan_repairs([Damaged(segment, bad)], bricks, 1)
        whole = not plan.lost and not plan.waiting
        for repair in plan.repairs:
            mend = dict(repair.mend)
            if await self._perform(segment, mend):
                continue
            alone = [{index: brick} for index, brick in mend.items()] if len(mend) > 1 else []
            done = [await self._perform(segment, each) for each in alone]  # what one brick refuses, others may take
            whole = whole and bool(done) and all(done)
        return whole

    async def _perform(self, segment: Segment, mend: Mapping[ShardIndex, BrickId]) -> bool:
        try:
            if not await self._rehousing.perform(Rebuild(segment, mend)):
                return False  # the segment has changed: it is looked at once more
        except (SegmentLost, NoSpace, BrickFault) as failure:
            self._failed += 1
            self._problem = str(failure)
            return False
        self._mended += len(mend)
        return True

    async def _confirmed(self, segment: Segment, indices: set[ShardIndex]) -> frozenset[ShardIndex]:
        """Those that are damaged now, on bricks that are here: the others are the healer's."""
        here = self._segments.bricks
        found = [
            index
            for index in sorted(indices)
            if segment.bricks[index] in here and await self._segments.verify_shard(segment, index) is not None
        ]
        return frozenset(index for index in found if segment.bricks[index] in here)

    def waiting(self) -> Mapping[SegmentId, Collection[ShardIndex]]:
        """What was reported and is not mended yet."""
        return MappingProxyType(dict(ChainMap(self._waiting, self._in_hand, self._later)))

    def status(self) -> MendingStatus:
        """An immutable snapshot."""
        return MendingStatus(
            waiting=len(ChainMap(self._waiting, self._in_hand)),
            stuck=len(self._later),
            mended=self._mended,
            failed=self._failed,
            dropped=self._dropped,
            problem=self._problem if self._later else "",
        )
