"""Which bytes are to be packed anew: those of segments that are mostly dead, and those that came inline.

Pure plans; dwd.services.repacker performs them. A segment is worth it when less than half of it lives.
"""

from collections.abc import Iterator
from typing import Final

import attrs

from dwd.model.ids import InodeNumber, SegmentId
from dwd.model.limits import SEGMENT_BYTES_MAX, SEGMENT_RANGES_MAX
from dwd.model.segment import Extent, Segment
from dwd.namespace import keys, records
from dwd.namespace.commands import Relocation
from dwd.namespace.queries import extents_within
from dwd.namespace.state import State

_LIVE_SHARE_LEAST: Final = 0.5
_SCAN_ROWS: Final = 512  # looked at by one plan, so that planning takes bounded time


@attrs.frozen
class Move:
    """An extent to copy."""

    number: InodeNumber
    offset: int
    extent: Extent

    def relocation(self, at: int) -> Relocation:
        """The same, for the log."""
        return Relocation(self.number, self.offset, self.extent.length, self.extent.changed, at)


@attrs.frozen
class RepackPlan:
    """At most a segment's worth of moves."""

    moves: tuple[Move, ...]

    @property
    def bytes(self) -> int:
        """The length of the new segment."""
        return sum(move.extent.length for move in self.moves)


def _bounded(moves: Iterator[Move]) -> RepackPlan:
    chosen: list[Move] = []
    total = 0
    for move in moves:
        total += move.extent.length
        if total > SEGMENT_BYTES_MAX or len(chosen) == SEGMENT_RANGES_MAX:
            break
        chosen.append(move)
    return RepackPlan(tuple(chosen))


def plan_inline(state: State) -> RepackPlan:
    """Bytes that came inline, file by file."""

    def moves() -> Iterator[Move]:
        for key, _ in state.store.range(*keys.table(b"B"), _SCAN_ROWS):
            number = InodeNumber(keys.number_of(key))
            inode = state.find_inode(number)
            for offset, extent in state.extents(number, 0, inode.size if inode else 0):
                if extent.inline:
                    yield Move(number, offset, extent)

    return _bounded(moves())


def plan_compaction(state: State, after: SegmentId) -> tuple[RepackPlan, SegmentId]:
    """What still lives of mostly dead segments with ids above `after`; and where to look next (0: from the start)."""
    start = keys.segment(SegmentId(after + 1))
    rows = list(state.store.range(start, keys.table(b"S")[1], _SCAN_ROWS))
    seen = after
    moves: list[Move] = []
    for _, raw in rows:
        segment = records.SEGMENT.decode(raw)
        if segment.live < segment.length * _LIVE_SHARE_LEAST:
            living = list(_living(state, segment))
            full = sum(m.extent.length for m in (*moves, *living)) > SEGMENT_BYTES_MAX
            if full or len(moves) + len(living) > SEGMENT_RANGES_MAX:
                # One that is too much for a plan of its own goes in several, of which this is the first.
                return RepackPlan(tuple(moves)) if moves else _bounded(iter(living)), seen
            moves += living
        seen = segment.id
    return RepackPlan(tuple(moves)), seen if len(rows) == _SCAN_ROWS else SegmentId(0)


def _living(state: State, segment: Segment) -> Iterator[Move]:
    """The extents that point into a segment: what was packed tells where to look."""
    for placed in state.contents(segment.id):
        for offset, extent in extents_within(state, placed.inode, placed.offset, placed.offset + placed.length):
            if extent.segment == segment.id:
                yield Move(placed.inode, offset, extent)
