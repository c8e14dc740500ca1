"""Give shards of a segment other bricks: computed or copied, durable there, then named by a command.

Rules: the record names a shard's new brick only when the shard is durable there, and its old file goes only when
that command is. A segment that changed meanwhile is passed over, and what was written for it removed. A crash in
between leaves at most a shard that the record does not name there: the sweep (garbage.py) takes it.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

import attrs

from dwd.model.errors import BrickFault, NamespaceRefusal
from dwd.model.ids import BrickId, ShardIndex
from dwd.model.segment import Segment
from dwd.namespace.commands import Rehouse
from dwd.services.claims import Claims
from dwd.services.metadata import Metadata
from dwd.services.pacing import Pacer
from dwd.services.segments import Segments


@attrs.frozen
class RehousingStatus:
    """What was done since the start."""

    segments: int
    shards: int
    bytes: int  # written
    passed_over: int  # segments that changed meanwhile


class Rehousing:
    """One segment at a time for each who asks; healing and moving share it."""

    def __init__(self, metadata: Metadata, segments: Segments, claims: Claims, pacer: Pacer) -> None:
        self._metadata = metadata
        self._segments = segments
        self._claims = claims
        self.pacer = pacer
        self._done = RehousingStatus(0, 0, 0, 0)

    async def perform(self, planned: Segment, targets: Mapping[ShardIndex, BrickId]) -> bool:
        """Put shards on these bricks, within the budget; False: the segment is not any more as it was planned for.

        Raises:
            SegmentLost: too few of its shards can be read.
            NoSpace, BrickFault: a brick did not take its shard.
        """
        await self.pacer.spend(*_cost(planned, len(targets)))
        with self._claims.claim(planned.id) as ours:
            segment = self._metadata.state.find_segment(planned.id) if ours else None
            if segment is None or segment.bricks != planned.bricks:
                self._done = attrs.evolve(self._done, passed_over=self._done.passed_over + 1)
                return False
            bricks = await self._segments.rebuild(segment, targets.keys(), targets)
            named = await self._name(segment, bricks)
            if named:
                await self._remove_old(segment, bricks)
            else:
                await self._remove(segment, ((index, bricks[index]) for index in targets))
        self._note(segment, len(targets), named=named)
        return named

    async def _name(self, segment: Segment, bricks: tuple[BrickId, ...]) -> bool:
        """Whether the record names these bricks now."""
        if bricks == segment.bricks:  # mended in place
            now = self._metadata.state.find_segment(segment.id)
            return now is not None and now.bricks == bricks
        try:
            await self._metadata.perform(Rehouse(segment.id, segment.bricks, bricks))
        except NamespaceRefusal:
            return False
        return True

    async def _remove_old(self, segment: Segment, bricks: tuple[BrickId, ...]) -> None:
        here = self._segments.bricks
        moved = [
            (ShardIndex(index), old)
            for index, (old, new) in enumerate(zip(segment.bricks, bricks, strict=True))
            if old != new and old in here
        ]
        if moved:
            await self._metadata.barrier()
            await self._remove(segment, moved)

    async def _remove(self, segment: Segment, shards: Iterable[tuple[ShardIndex, BrickId]]) -> None:
        for index, brick in shards:
            with suppress(BrickFault):  # the sweep meets it again
                await self._segments.remove_shard(segment.id, index, brick)

    def _note(self, segment: Segment, shards: int, *, named: bool) -> None:
        done = self._done
        if not named:
            self._done = attrs.evolve(done, passed_over=done.passed_over + 1)
            return
        written = shards * segment.protection.shard_length(segment.length)
        self._done = RehousingStatus(done.segments + 1, done.shards + shards, done.bytes + written, done.passed_over)

    def status(self) -> RehousingStatus:
        """An immutable snapshot."""
        return self._done


def _cost(segment: Segment, shards: int) -> tuple[int, int]:
    """Bytes and operations of computing so many shards of a segment and writing them."""
    touched = segment.protection.k + shards
    return touched * segment.protection.shard_length(segment.length), touched
