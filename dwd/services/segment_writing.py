"""Write a segment at the strongest protection that the bricks allow now.

Rules: what returns is durable. A shard that fails goes to a brick that was not chosen, if there is one; a
segment that has one shard more than it needs is kept with what it has, and the healer completes it. Otherwise
it is written anew on the bricks that work, at what then fits. Nothing of a failed try is left.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import attrs
import trio

from dwd.ec.segment_image import SegmentImage, ShardImage, build_shards
from dwd.model.errors import BrickFault, NoSpace
from dwd.model.ids import NO_BRICK, BrickId, LogIndex, SegmentId, ShardIndex, VolumeId
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.placement.rendezvous import Chooser
from dwd.services.brick_calls import BrickCalls, ShardWrite
from dwd.services.bricks import Bricks, Condition
from dwd.services.segment_counters import SegmentStatistics

_TRIES_MAX: Final = 6  # with fewer bricks each time
_SHARD_WRITE_S_MAX: Final = 15.0  # then the bricks that have not answered are given up
_PATIENCE_S: Final = 2.0  # with those that are late when k shards are stored, or
_PATIENCE: Final = 10  # times as long as these took
_ABANDON_S_MAX: Final = 5.0  # what is not removed by then is swept at the next start


@attrs.frozen
class _Placement:
    """The bricks for a segment's shards, and those that may take their place."""

    protection: Protection
    bricks: Sequence[BrickId]
    spares: list[BrickId]


@attrs.define(eq=False)
class _Try:
    """One try to write a segment."""

    placement: _Placement
    writes: list[ShardWrite] = attrs.Factory(list)

    @property
    def stored(self) -> dict[ShardIndex, BrickId]:
        """The shards that are durable, and where."""
        return {write.index: write.brick.id for write in self.writes if write.stored}

    @property
    def failed(self) -> set[BrickId]:
        """The bricks that took theirs not, or not in time."""
        return {write.brick.id for write in self.writes if not write.stored}

    @property
    def full(self) -> bool:
        """Whether a brick had no room."""
        return any(isinstance(write.failure, NoSpace) for write in self.writes)

    @property
    def good(self) -> bool:
        """Whether the segment may stay as it is: whole, or with a shard to spare, and not for want of room."""
        protection, stored = self.placement.protection, len(self.stored)
        return stored == protection.width or (stored > protection.k and not self.full)

    @property
    def bricks(self) -> tuple[BrickId, ...]:
        """What the record names."""
        stored = self.stored
        return tuple(stored.get(ShardIndex(index), NO_BRICK) for index in range(self.placement.protection.width))


class SegmentWriter:
    """Writes the segments of a volume."""

    def __init__(self, volume: VolumeId, bricks: Bricks, calls: BrickCalls, counters: SegmentStatistics) -> None:
        self._volume = volume
        self._bricks = bricks
        self._calls = calls
        self._counters = counters

    async def write(self, segment: SegmentId, buffer: bytearray, length: int, wanted: Protection) -> Segment:
        """Store the first `length` bytes of a buffer with room for padding behind them.

        Raises:
            NoSpace: the bricks are full.
            BrickFault: no brick takes anything.
        """
        avoided: set[BrickId] = set()
        full = False
        for _ in range(_TRIES_MAX):
            placement = self._place(segment, wanted, avoided, full=full)
            image = await self._encode(segment, placement.protection, buffer, length)
            attempt = _Try(placement)
            kept = False
            try:
                await self._store(segment, attempt, image)
                kept = attempt.good
            finally:
                if not kept:
                    avoided |= await self._abandon(attempt)
            if kept:
                self._count(attempt, length, wanted)
                mode = placement.protection
                fallback = None if mode == wanted else wanted
                return Segment(LogIndex(0), segment, mode, length, 0, attempt.bricks, image.digest, fallback)
            avoided |= attempt.failed
            full = full or attempt.full
        raise self._nowhere(avoided, full=full)

    async def _encode(self, segment: SegmentId, protection: Protection, buffer: bytearray, length: int) -> SegmentImage:
        return await self._calls.compute(lambda: build_shards(self._volume, segment, protection, buffer, length))

    def _place(self, segment: SegmentId, wanted: Protection, avoided: set[BrickId], *, full: bool) -> _Placement:
        """Choose bricks with room; when none has, into the reserve, which compaction lives on."""
        for within_reserve in (False, True):
            candidates = [
                candidate
                for candidate in self._bricks.writable(within_reserve=within_reserve)
                if candidate.brick not in avoided
            ]
            chooser = Chooser(candidates)
            if chooser.bricks:
                protection = chooser.fitting(wanted)
                chosen = chooser.place(segment, protection)
                return _Placement(protection, chosen, [c.brick for c in candidates if c.brick not in chosen])
        raise self._nowhere(avoided, full=full)

    def _nowhere(self, avoided: set[BrickId], *, full: bool) -> NoSpace | BrickFault:
        """What to raise: want of room if that is all that is wrong with a brick."""
        conditions = {number: self._bricks.condition(number) for number in self._bricks.records()}
        takers = (number for number, record in self._bricks.records().items() if record.standing.takes_new)
        if full or any(conditions[n].condition is Condition.ONLINE and n not in avoided for n in takers):
            return NoSpace("no brick has room for a shard; delete files or add a brick")
        evidence = "; ".join(f"brick {n} is {s.condition}: {s.evidence}" for n, s in sorted(conditions.items()))
        return BrickFault(f"no brick takes a shard ({evidence}); bring one back, or add one")

    async def _store(self, segment: SegmentId, attempt: _Try, image: SegmentImage) -> None:
        began = trio.current_time()

        async def store(index: ShardIndex, brick: BrickId, shard: ShardImage, scope: trio.CancelScope) -> None:
            target: BrickId | None = brick
            while target is not None:
                if await self._store_shard(segment, index, target, shard, attempt):
                    self._hurry(attempt, began, scope)
                    return
                target = attempt.placement.spares.pop(0) if attempt.placement.spares else None

        # Shielded: a mount that hangs up must not make bricks late for everybody else.
        with trio.CancelScope(deadline=began + _SHARD_WRITE_S_MAX, shield=True) as scope:
            async with trio.open_nursery() as nursery:
                for index, (brick, shard) in enumerate(zip(attempt.placement.bricks, image.shards, strict=True)):
                    nursery.start_soon(store, ShardIndex(index), brick, shard, scope)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _store_shard(
        self, segment: SegmentId, index: ShardIndex, number: BrickId, shard: ShardImage, attempt: _Try
    ) -> bool:
        brick = self._bricks.find(number)
        if brick is None:
            return False  # it vanished since it was chosen
        write = ShardWrite(brick, segment, index)
        attempt.writes.append(write)
        await self._calls.write(write, shard)
        return write.stored

    @staticmethod
    def _hurry(attempt: _Try, began: float, scope: trio.CancelScope) -> None:
        """Once the bytes can be read back, the bricks that keep us waiting have only so much time more."""
        now = trio.current_time()
        if len(attempt.stored) >= attempt.placement.protection.k and math.isfinite(scope.deadline):
            scope.deadline = min(scope.deadline, now + max(_PATIENCE_S, _PATIENCE * (now - began)))

    async def _abandon(self, attempt: _Try) -> set[BrickId]:
        """Remove what a failed or cancelled try has stored; the bricks that would not."""
        unwilling: set[BrickId] = set()

        async def remove(write: ShardWrite) -> None:
            unwilling.add(write.brick.id)
            with suppress(BrickFault):
                await self._calls.call(write.brick, lambda: write.brick.remove_shard(write.segment, write.index))
                unwilling.discard(write.brick.id)

        with trio.CancelScope(shield=True, deadline=trio.current_time() + _ABANDON_S_MAX):
            async with trio.open_nursery() as nursery:
                for write in attempt.writes:
                    if write.stored:
                        nursery.start_soon(remove, write)
        return unwilling

    def _count(self, attempt: _Try, length: int, wanted: Protection) -> None:
        self._counters.segments_written += 1
        self._counters.bytes_written += length
        self._counters.shards_failed += attempt.placement.protection.width - len(attempt.stored)
        self._counters.fallbacks += attempt.placement.protection != wanted
