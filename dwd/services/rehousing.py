"""Give shards of a segment other bricks: computed or copied, durable there, then named by a command.

Rules: the record names a shard's new brick only when the shard is durable there, and its old file goes only when
that command is. A segment that changed meanwhile is passed over, and what was written for it removed. A crash in
between leaves at most a shard that the record does not name there: the sweep (garbage.py) takes it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from typing import Final, TypeAlias, TypeVar

import attrs

from dwd.model.errors import BrickFault, NamespaceRefusal, NoSpace, SegmentLost
from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.namespace.commands import Rehouse
from dwd.services.claims import Claims
from dwd.services.metadata import Metadata
from dwd.services.pacing import Pacer
from dwd.services.rebuild_batch import Rebuild
from dwd.services.segments import Segments

_T = TypeVar("_T")

_BATCH: Final = 8  # segments; their new shards are made one after the other, so memory holds one segment's

Rehoused: TypeAlias = bool | SegmentLost | NoSpace | BrickFault  # done, or passed over, or why not


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

    def batches(self, planned: Iterable[_T]) -> Iterator[list[_T]]:
        """What is to be performed in company: several while nothing bounds the rate, or else one at a time."""
        left = iter(planned)
        while batch := list(islice(left, _BATCH if self.pacer.is_unbounded else 1)):
            yield batch

    async def perform(self, planned: Rebuild) -> bool:
        """Put shards on these bricks, within the budget; False: the segment is not any more as it was planned for.

        Raises:
            SegmentLost: too few of its shards can be read.
            NoSpace, BrickFault: a brick did not take its shard.
        """
        (outcome,) = await self.perform_all([planned])
        if isinstance(outcome, bool):
            return outcome
        raise outcome

    async def perform_all(self, planned: Sequence[Rebuild]) -> list[Rehoused]:
        """The same for several segments: what came of each."""
        for one in planned:
            await self.pacer.spend(*_cost(one))
        outcomes: dict[SegmentId, Rehoused] = {one.id: False for one in planned}
        with ExitStack() as claims:
            ours = [
                one for one in planned if claims.enter_context(self._claims.claim(one.id)) and self._is_current(one)
            ]
            quick = await self._segments.rebuild_quickly(ours)
            for one, done in zip(ours, quick, strict=True):
                outcomes[one.id] = await self._finish(one, done=done)
            await self._remove_old([one for one in ours if outcomes[one.id] is True])
        self._done = attrs.evolve(
            self._done, passed_over=self._done.passed_over + sum(o is False for o in outcomes.values())
        )
        return [outcomes[one.id] for one in planned]

    def _is_current(self, planned: Rebuild) -> bool:
        segment = self._metadata.state.find_segment(planned.id)
        return segment is not None and segment.bricks == planned.segment.bricks

    async def _finish(self, rebuild: Rebuild, *, done: bool) -> Rehoused:
        try:
            if not done:
                await self._segments.rebuild(rebuild)
        except (SegmentLost, NoSpace, BrickFault) as failure:
            return failure
        if not await self._name(rebuild.segment, rebuild.bricks):
            await self._remove(rebuild.segment, rebuild.targets.items())
            return False
        was = self._done
        self._done = RehousingStatus(
            was.segments + 1, was.shards + len(rebuild.targets), was.bytes + rebuild.bytes, was.passed_over
        )
        return True

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

    async def _remove_old(self, rebuilds: Iterable[Rebuild]) -> None:
        here = self._segments.bricks
        moved = [
            (one.segment, [(index, one.segment.bricks[index])])
            for one in rebuilds
            for index, target in one.targets.items()
            if one.segment.bricks[index] != target and one.segment.bricks[index] in here
        ]
        if moved:
            await self._metadata.barrier()
        for segment, shards in moved:
            await self._remove(segment, shards)

    async def _remove(self, segment: Segment, shards: Iterable[tuple[ShardIndex, BrickId]]) -> None:
        for index, brick in shards:
            with suppress(BrickFault):  # the sweep meets it again
                await self._segments.remove_shard(segment.id, index, brick)

    def status(self) -> RehousingStatus:
        """An immutable snapshot."""
        return self._done


def _cost(rebuild: Rebuild) -> tuple[int, int]:
    """Bytes and operations of computing shards of a segment and writing them."""
    segment = rebuild.segment
    touched = segment.protection.k + len(rebuild.targets)
    return touched * segment.protection.shard_length(segment.length), touched
