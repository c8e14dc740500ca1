"""Remove the shards of segments that nothing points into, and shards that no record ever named."""

import trio

from dwd.model.errors import BrickFault
from dwd.model.ids import SegmentId, ShardIndex, segment_epoch
from dwd.model.segment import Segment
from dwd.namespace import keys, records
from dwd.namespace.commands import ForgetSegments
from dwd.services.metadata import Metadata
from dwd.services.segments import Segments
from dwd.services.space import SpaceKeeper

_BATCH = 64  # segments forgotten by one command
_PERIOD_S = 0.25
_RETRY_S = 10.0  # after a brick refused


class GarbageCollector:
    """One task; it needs no plan, for garbage is a table of the state."""

    def __init__(self, metadata: Metadata, segments: Segments, space: SpaceKeeper) -> None:
        self._metadata = metadata
        self._segments = segments
        self._space = space
        self.segments_removed = 0
        self.strays_removed = 0
        self.swept = trio.Event()

    async def run(self) -> None:
        """Sweep once, then collect for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            while True:
                clean = await self.collect()
                await trio.sleep(_PERIOD_S if clean else _RETRY_S)

    async def collect(self) -> bool:
        """Remove all garbage that there is; False when a brick failed and it is to be tried again later."""
        while batch := self._next_batch():
            # The command that made it garbage must outlive a power cut before its shards may go.
            await self._metadata.barrier()
            try:
                for segment in batch:
                    await self._segments.remove(segment)
            except BrickFault:
                return False
            await self._metadata.perform(ForgetSegments(tuple(s.id for s in batch)))
            self.segments_removed += len(batch)
            self._space.forget()
        return True

    def _next_batch(self) -> list[Segment]:
        rows = self._metadata.state.store.range(*keys.table(b"G"), _BATCH)
        return [records.SEGMENT.decode(raw) for _, raw in rows]

    async def _sweep(self) -> None:
        """Shards of earlier epochs that no record names were written for a command that was never logged."""
        for brick in self._segments.bricks:
            try:
                for segment, index in await self._segments.list_shards(brick):
                    if self._is_stray(segment):
                        await self._segments.remove_shard(segment, ShardIndex(index), brick)
                        self.strays_removed += 1
            except BrickFault:
                continue
        self.swept.set()

    def _is_stray(self, segment: SegmentId) -> bool:
        return segment_epoch(segment) < self._metadata.epoch and not self._metadata.state.names_segment(segment)
