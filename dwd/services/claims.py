"""Which segments somebody in this process is moving shards of: one at a time for each segment.

Rules: a shard file that a claim covers is nobody's orphan; who removes or writes shards of a segment that
a record names holds its claim. Claims are of this process only: what a crash leaves is found by the sweep.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dwd.model.ids import SegmentId


class Claims:
    """The segments whose shards are on their way."""

    def __init__(self) -> None:
        self._held: set[SegmentId] = set()

    def __contains__(self, segment: SegmentId) -> bool:
        return segment in self._held

    @contextmanager
    def claim(self, segment: SegmentId) -> Iterator[bool]:
        """Hold a segment; False if somebody else does: leave it alone then."""
        if segment in self._held:
            yield False
            return
        self._held.add(segment)
        try:
            yield True
        finally:
            self._held.discard(segment)
