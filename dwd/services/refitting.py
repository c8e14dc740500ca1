"""Write anew, at their own protection, bytes of files that lie in a segment of another: files move between policies.

Who renames a file into a directory with another policy does not wait for its bytes. The scrub meets every segment
within its days, and has what does not fit moved.
"""

from contextlib import suppress

from dwd.model.errors import BrickFault, NoSpace, SegmentLost
from dwd.model.segment import Segment
from dwd.namespace.converting import plan_misfits
from dwd.services.metadata import Metadata
from dwd.services.pacing import Pacer
from dwd.services.repacker import Repacker
from dwd.services.segments import Segments


class Refitter:
    """Asked segment by segment."""

    def __init__(self, metadata: Metadata, segments: Segments, repacker: Repacker, pacer: Pacer) -> None:
        self._metadata = metadata
        self._segments = segments
        self._repacker = repacker
        self._pacer = pacer
        self.bytes_moved = 0

    async def refit(self, segment: Segment) -> None:
        """Move what does not fit, of one other protection; what cannot be moved now is met again by the next scrub."""
        plan = plan_misfits(self._metadata.state, segment, self._segments.protection)
        if not plan.moves:
            return
        await self._pacer.spend(2 * plan.bytes, plan.protection.width)
        with suppress(NoSpace, BrickFault, SegmentLost):
            if await self._repacker.perform(plan):
                self.bytes_moved += plan.bytes
