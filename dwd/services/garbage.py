"""Remove the shards of segments that nothing points into, and shards that no record names where they lie.

Rules: a brick that is away or fails stops nothing: the segment is forgotten, and its shard there is an orphan once the
brick is back. A shard is an orphan when no record names this brick for it, nobody writes its segment, and nobody
moves its shards. What makes it one is durable before it goes.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import attrs
import trio

from dwd.model.errors import BrickFault
from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.namespace import keys, records
from dwd.namespace.commands import ForgetSegments
from dwd.services.census import shards_on
from dwd.services.claims import Claims
from dwd.services.metadata import Metadata
from dwd.services.segments import Segments
from dwd.services.space import SpaceKeeper

_BATCH: Final = 64  # segments forgotten by one command
_PERIOD_S: Final = 0.25
_SWEEP_S: Final = 3600.0  # a brick is swept when it comes, and then as often as this
_LOOK_S: Final = 1.0  # for bricks that came
_GRACE_S: Final = 60.0  # a later sweep looks twice: none of our rules should be needed to save a shard
_STRAYS_MAX: Final = 100_000  # remembered for the second look; more wait for the next sweep
_CHECKED_AT_ONCE: Final = 64  # rows looked at before others get their turn


@attrs.frozen(order=True)
class ShardFile:
    """One shard where it lies."""

    brick: BrickId
    segment: SegmentId
    index: ShardIndex


@attrs.frozen
class GarbageStatus:
    """What was done since the start."""

    segments_removed: int
    strays_removed: int
    shards_left: int  # of forgotten segments, on bricks that were away or failed: later sweeps take them


class GarbageCollector:
    """Two tasks: garbage is a table of the state and needs no plan; orphans are what a listing finds."""

    def __init__(self, metadata: Metadata, segments: Segments, space: SpaceKeeper, claims: Claims) -> None:
        self._metadata = metadata
        self._segments = segments
        self._space = space
        self._claims = claims
        self._swept_at: dict[BrickId, tuple[int, float]] = {}
        self.segments_removed = 0
        self.strays_removed = 0
        self.shards_left = 0
        self.swept = trio.Event()  # every brick that was here at the start, once

    async def run(self) -> None:
        """Sweep and collect for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep_now_and_then)
            while True:
                await self.collect()
                await trio.sleep(_PERIOD_S)

    def status(self) -> GarbageStatus:
        """An immutable snapshot."""
        return GarbageStatus(self.segments_removed, self.strays_removed, self.shards_left)

    async def collect(self) -> None:
        """Remove all garbage that there is."""
        while batch := self._next_batch():
            # The command that made it garbage must outlive a power cut before its shards may go.
            await self._metadata.barrier()
            removed = [segment.id for segment in batch if await self._remove(segment)]
            if not removed:
                return  # all of them are in other hands
            await self._metadata.perform(ForgetSegments(tuple(removed)))
            self.segments_removed += len(removed)
            self._space.forget()

    def _next_batch(self) -> list[Segment]:
        rows = self._metadata.state.store.range(*keys.table(b"G"), _BATCH)
        return [records.SEGMENT.decode(raw) for _, raw in rows]

    async def _remove(self, segment: Segment) -> bool:
        """False: somebody moves its shards just now."""
        with self._claims.claim(segment.id) as ours:
            if not ours:
                return False
            for index, brick in enumerate(segment.bricks):
                try:
                    await self._segments.remove_shard(segment.id, ShardIndex(index), brick)
                except BrickFault:
                    self.shards_left += 1
        return True

    async def _sweep_now_and_then(self) -> None:
        while True:
            later: list[ShardFile] = []
            for brick in list(self._segments.bricks):
                first = self._is_new(brick)
                if first or self._is_due(brick):
                    later += await self.sweep(brick, at_once=first)
            self.swept.set()
            if later:
                await trio.sleep(_GRACE_S)
                await self.remove_strays(later)
            await trio.sleep(_LOOK_S)

    def _is_new(self, brick: BrickId) -> bool:
        """Whether it came since it was swept last."""
        known = self._swept_at.get(brick)
        return known is None or known[0] != self._segments.brick_set.appearances(brick)

    def _is_due(self, brick: BrickId) -> bool:
        return trio.current_time() - self._swept_at[brick][1] >= _SWEEP_S

    async def sweep(self, brick: BrickId, *, at_once: bool) -> list[ShardFile]:
        """Look through a brick; removes its orphans, or says which they are, for remove_strays() after a grace."""
        self._swept_at[brick] = self._segments.brick_set.appearances(brick), trio.current_time()
        found: list[ShardFile] = []
        with suppress(BrickFault, KeyError):  # it went: it is swept when it comes back
            async for piece in shards_on(self._segments.bricks[brick]):
                strays = await self._strays_of(brick, piece)
                if at_once:
                    await self.remove_strays(strays)
                elif len(found) < _STRAYS_MAX:
                    found += strays
        return found

    async def _strays_of(self, brick: BrickId, piece: list[tuple[SegmentId, ShardIndex]]) -> list[ShardFile]:
        strays: list[ShardFile] = []
        for start in range(0, len(piece), _CHECKED_AT_ONCE):
            shards = (ShardFile(brick, *shard) for shard in piece[start : start + _CHECKED_AT_ONCE])
            strays += filter(self.is_stray, shards)
            await trio.lowlevel.checkpoint()
        return strays

    def is_stray(self, shard: ShardFile) -> bool:
        """Whether no record names this brick for it, and nobody has its segment in hand."""
        in_hand = shard.segment in self._segments.in_flight or shard.segment in self._claims
        return not in_hand and not self._is_named(shard)

    def _is_named(self, shard: ShardFile) -> bool:
        get = self._metadata.state.store.get
        raw = get(keys.segment(shard.segment)) or get(keys.garbage(shard.segment))
        if raw is None:
            return False
        bricks = records.SEGMENT.decode(raw).bricks
        return shard.index < len(bricks) and bricks[shard.index] == shard.brick

    async def remove_strays(self, shards: Iterable[ShardFile]) -> None:
        """Remove those of them that are orphans now."""
        for shard in shards:
            if not self.is_stray(shard):
                continue
            with self._claims.claim(shard.segment), suppress(BrickFault):
                await self._metadata.barrier()  # who named another brick for it must outlive a power cut
                await self._segments.remove_shard(shard.segment, shard.index, shard.brick)
                self.strays_removed += 1
