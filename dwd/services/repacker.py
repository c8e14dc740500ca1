"""Perform repacking plans: copy living bytes into new segments, so that dead ones can go.

Plans of a conversion, of an upgrade and of misfits are performed here too (dwd.namespace.converting).
"""

import trio

from dwd.model.errors import BrickFault, NoSpace, SegmentLost
from dwd.model.ids import SegmentId
from dwd.model.limits import INLINE_VOLUME_BYTES_HIGH
from dwd.namespace.commands import Relocate
from dwd.namespace.repacking import Move, RepackPlan, plan_compaction, plan_inline
from dwd.services.metadata import Metadata
from dwd.services.segments import Segments, new_buffer

_PERIOD_S = 1.0
_INLINE_PLANS_MAX = 8  # performed in one turn: somewhat more than the high mark
_INLINE_AGE_S = 30.0  # inline bytes are packed after this long even when they are few


class Repacker:
    """One task, one segment at a time, so that it never takes more than a share of the bricks."""

    def __init__(self, metadata: Metadata, segments: Segments) -> None:
        self._metadata = metadata
        self._segments = segments
        self._position = SegmentId(0)
        self._inline_since = float("-inf")
        self.segments_written = 0
        self.bytes_moved = 0

    async def run(self) -> None:
        """Repack now and then."""
        while True:
            await trio.sleep(_PERIOD_S)
            try:
                await self._inline()
                await self._compact()
            except (NoSpace, BrickFault):
                # Nothing was changed; what is to be done is found again by the next plan.
                continue

    async def _inline(self) -> None:
        waiting = self._metadata.state.volume.inline_bytes
        now = trio.current_time()
        if not waiting:
            self._inline_since = now
        if waiting <= INLINE_VOLUME_BYTES_HIGH and now - self._inline_since < _INLINE_AGE_S:
            return
        self._inline_since = now
        for _ in range(_INLINE_PLANS_MAX):
            plan = plan_inline(self._metadata.state, self._segments.protection)
            if not plan.moves:
                return
            await self.perform(plan)

    async def _compact(self) -> None:
        plan, following = plan_compaction(self._metadata.state, self._position, self._segments.protection)
        moved = await self.perform(plan) if plan.moves else 0
        # What cannot be moved must not hold up what is behind it: the next round tries again.
        self._position = following if moved else max((m.extent.segment for m in plan.moves), default=following)

    async def perform(self, plan: RepackPlan) -> int:
        """Copy a plan's bytes into a new segment and point the extents there; says how many moved.

        What changed meanwhile stays where it is, and so does what cannot be read, of which scrub and fsck tell.

        Raises:
            NoSpace, BrickFault: nothing changed.
        """
        buffer = new_buffer(plan.bytes)
        position = 0
        relocations = []
        for move in plan.moves:
            try:
                raw = await self._bytes_of(move)
            except SegmentLost:
                continue
            buffer[position : position + move.extent.length] = raw
            relocations.append(move.relocation(position))
            position += move.extent.length
        if not relocations:
            return 0
        segment = await self._segments.write(self._metadata.new_segment_id(), buffer, position, plan.protection)
        try:
            done = await self._metadata.perform(Relocate(segment, tuple(relocations)))
        finally:
            self._segments.in_flight.discard(segment.id)
        self.segments_written += 1
        self.bytes_moved += position
        return done.value

    async def _bytes_of(self, move: Move) -> bytes:
        if move.extent.inline:
            return move.extent.data
        segment = self._metadata.state.find_segment(move.extent.segment)
        if segment is None:
            return bytes(move.extent.length)  # it was freed since the plan was made: the relocation is void
        return await self._segments.read(segment, move.extent.at, move.extent.length)
