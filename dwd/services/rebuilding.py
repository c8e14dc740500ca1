"""Make shards of a segment anew, bit for bit, on bricks that are named: what healing, draining and replacing do.

Rules: a shard that is sound elsewhere is copied, any other is computed from k verified ones. What rebuild() wrote
is durable when it returns, and removed when it fails. The record is not changed here.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

import trio

from dwd.ec.isal import Buffer
from dwd.ec.layout import ShardRange
from dwd.ec.segment_image import ShardImage
from dwd.model.errors import BrickFault, DwError
from dwd.model.ids import BrickId, SegmentId, ShardIndex, VolumeId
from dwd.model.segment import Segment
from dwd.services.brick_calls import BrickCalls, ShardWrite
from dwd.services.bricks import Bricks
from dwd.services.rebuild_batch import QuickRebuild, Rebuild, RebuildBatch, Scratches
from dwd.services.segment_counters import SegmentStatistics
from dwd.services.segment_reading import SegmentReader, lost
from dwd.services.shard_making import ShardMaking, Source, shard_image

_QUICK_S_MAX: Final = 5.0  # for a batch, one brick after the other; then what is left goes alone, side by side
_WRITE_S_MAX: Final = 60.0  # of all shards of one segment; nobody waits for it but background work
_ABANDON_S_MAX: Final = 5.0  # what is not removed by then is swept


class Rebuilder:
    """Rebuilds the shards of a volume."""

    def __init__(
        self,
        volume: VolumeId,
        bricks: Bricks,
        calls: BrickCalls,
        reader: SegmentReader,
        counters: SegmentStatistics,
    ) -> None:
        self._volume = volume
        self._bricks = bricks
        self._calls = calls
        self._reader = reader
        self._counters = counters
        self._scratches = Scratches()
        self.in_progress: set[SegmentId] = set()  # their new shards are named by no record yet

    async def rebuild_quickly(self, rebuilds: Sequence[Rebuild]) -> list[bool]:
        """Put the shards of several segments on their targets in one thread; which are done.

        Of the others nothing is left: they need another look, which rebuild() takes.
        """
        numbers = {rebuild.id for rebuild in rebuilds}
        self.in_progress |= numbers
        try:
            planned = [self._quick(rebuild) for rebuild in rebuilds]
            await self._perform([one for one in planned if one is not None])
        finally:
            self.in_progress -= numbers
        return [one is not None and one.done for one in planned]

    async def rebuild(self, rebuild: Rebuild) -> None:
        """Put the shards of a segment on their targets, whatever it takes.

        Raises:
            SegmentLost: too few shards can be read.
            BrickFault: a target is not here, or failed, or is still in a write that was given up.
            NoSpace: a target is full.
        """
        self.in_progress.add(rebuild.id)
        try:
            images = await self._make(rebuild.segment, rebuild.targets)
            await self._write(rebuild.segment, images, rebuild.targets)
        finally:
            self.in_progress.discard(rebuild.id)
        self._count(rebuild)

    def _count(self, rebuild: Rebuild) -> None:
        self._counters.shards_rebuilt += len(rebuild.targets)
        self._counters.bytes_rebuilt += rebuild.bytes

    # -- In company ----------------------------------------------------------------------------------------------------

    def _quick(self, rebuild: Rebuild) -> QuickRebuild | None:
        """If all that is needed is on bricks that are well, and all targets are here; else None."""
        segment, targets = rebuild.segment, rebuild.targets
        well = {
            ShardIndex(index): Source(ShardIndex(index), brick)
            for index, number in enumerate(segment.bricks)
            if not self._bricks.doubtful(number) and (brick := self._bricks.find(number)) is not None
        }
        copied = [well[index] for index in targets if index in well and targets[index] != segment.bricks[index]]
        computed = sorted(set(targets) - {source.index for source in copied})
        sources = [source for index, source in well.items() if index not in computed][: segment.protection.k]
        if computed and len(sources) < segment.protection.k:
            return None
        making = ShardMaking(self._volume, segment, copied, computed, sources)
        try:
            writes = {index: self._replacing(segment, index, target) for index, target in targets.items()}
        except BrickFault:
            return None
        return QuickRebuild(rebuild, making, writes)

    async def _perform(self, batch: Sequence[QuickRebuild]) -> None:
        try:
            if batch:
                await RebuildBatch(batch, self._calls, self._scratches).perform(_QUICK_S_MAX)
        finally:
            await self._abandon([write for one in batch if not one.done for write in one.writes.values()])
        for one in batch:
            if one.done:
                self._counters.reconstructed += one.making.computes
                self._count(one.rebuild)

    # -- Alone ---------------------------------------------------------------------------------------------------------

    async def _make(self, segment: Segment, targets: Mapping[ShardIndex, BrickId]) -> dict[ShardIndex, ShardImage]:
        bodies = await self._bodies(segment, targets)
        return await self._calls.compute(
            lambda: {index: shard_image(self._volume, segment, index, body) for index, body in bodies.items()}
        )

    async def _bodies(self, segment: Segment, targets: Mapping[ShardIndex, BrickId]) -> dict[ShardIndex, Buffer]:
        length = segment.protection.shard_length(segment.length)
        problems: list[str] = []
        bodies: dict[ShardIndex, Buffer] = {}
        for index in targets:
            brick = self._bricks.find(segment.bricks[index])
            if brick is not None and targets[index] != brick.id:
                body = await self._reader.try_shard(segment, ShardRange(index, 0, length), brick, problems)
                bodies |= {} if body is None else {index: body}
        missing = [index for index in targets if index not in bodies]
        if missing:
            computed = await self._reader.compute(segment, missing, 0, length, problems)
            if computed is None:
                raise lost(segment, problems)
            bodies |= computed
        return bodies

    async def _write(
        self, segment: Segment, images: Mapping[ShardIndex, ShardImage], targets: Mapping[ShardIndex, BrickId]
    ) -> None:
        writes: list[ShardWrite] = []
        problems: list[DwError] = []

        async def write_one(index: ShardIndex, image: ShardImage) -> None:
            try:
                write = self._replacing(segment, index, targets[index])
            except BrickFault as fault:
                problems.append(fault)
                return
            writes.append(write)
            await self._calls.write(write, image)

        done = False
        try:
            with trio.move_on_after(_WRITE_S_MAX):
                async with trio.open_nursery() as nursery:
                    for index, image in images.items():
                        nursery.start_soon(write_one, index, image)
            problems += [write.failure for write in writes if write.failure is not None]
            done = sum(write.stored for write in writes) == len(images)
        finally:
            if not done:
                await self._abandon(writes)
        if not done:
            raise problems[0] if problems else BrickFault(f"no answer for {_WRITE_S_MAX:.0f} s to a write of a shard")

    def _replacing(self, segment: Segment, index: ShardIndex, target: BrickId) -> ShardWrite:
        """A write that removes what lies there. Raises BrickFault."""
        brick = self._bricks.find(target)
        if brick is None:
            raise BrickFault(f"brick {target} is not here: {self._bricks.condition(target).evidence}")
        if self._bricks.is_late(target):
            raise BrickFault(f"brick {target} is still at a write that took too long")
        return ShardWrite(brick, segment.id, index, replaces=True)

    async def _abandon(self, writes: Collection[ShardWrite]) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _ABANDON_S_MAX):
            for write in writes:
                if write.stored:
                    with suppress(BrickFault):
                        await self._remove(write)

    async def _remove(self, write: ShardWrite) -> None:
        await self._calls.call(write.brick, lambda: write.brick.remove_shard(write.segment, write.index))
