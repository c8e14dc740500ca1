"""Which bytes are to be packed anew: those of segments that are mostly dead, and those that came inline.

Pure plans; dwd.services.repacker performs them. A segment is worth it when less than half of it lives. What goes
into one segment has one protection: that of the files it belongs to.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from dwd.model.ids import InodeNumber, SegmentId
from dwd.model.limits import SEGMENT_BYTES_MAX, SEGMENT_RANGES_MAX
from dwd.model.protection import Protection
from dwd.model.segment import Extent, Segment
from dwd.namespace import keys, records
from dwd.namespace.commands import Relocation
from dwd.namespace.policies import effective
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
    """At most a segment's worth of moves, and what that segment is to be stored at."""

    moves: tuple[Move, ...]
    protection: Protection

    @property
    def bytes(self) -> int:
        """The length of the new segment."""
        return sum(move.extent.length for move in self.moves)


def bounded(moves: Iterable[Move], protection: Protection) -> RepackPlan:
    """As many of the moves, in order, as one segment takes."""
    chosen: list[Move] = []
    total = 0
    for move in moves:
        total += move.extent.length
        if total > SEGMENT_BYTES_MAX or len(chosen) == SEGMENT_RANGES_MAX:
            break
        chosen.append(move)
    return RepackPlan(tuple(chosen), protection)


def plan_inline(state: State, default: Protection) -> RepackPlan:
    """Bytes that came inline, file by file: of those that have the first one's protection."""
    rows = state.store.range(*keys.table(b"B"), _SCAN_ROWS)
    numbers = [InodeNumber(keys.number_of(key)) for key, _ in rows]
    wanted = [effective(state, number, default) for number in numbers]
    protection = wanted[0] if wanted else default

    def moves() -> Iterator[Move]:
        for number, its in zip(numbers, wanted, strict=True):
            inode = state.find_inode(number) if its == protection else None
            for offset, extent in state.extents(number, 0, inode.size if inode else 0):
                if extent.inline:
                    yield Move(number, offset, extent)

    return bounded(moves(), protection)


def plan_compaction(state: State, after: SegmentId, default: Protection) -> tuple[RepackPlan, SegmentId]:
    """What still lives of mostly dead segments with ids above `after`; and where to look next (0: from the start).

    All of it has one protection: the first that is found. What has another is left to the next plan.
    """
    start = keys.segment(SegmentId(after + 1))
    rows = list(state.store.range(start, keys.table(b"S")[1], _SCAN_ROWS))
    packing = _Packing(state, default)
    seen = after
    left: SegmentId | None = None  # in front of the first segment of which something is left
    for _, raw in rows:
        segment = records.SEGMENT.decode(raw)
        if segment.live < segment.length * _LIVE_SHARE_LEAST:
            living = list(living_in(state, segment))
            alike = packing.alike(living)
            if not packing.fits(alike):
                # One that is too much for a plan of its own goes in several, of which this is the first.
                plan = packing.plan() if packing.moves else bounded(alike, packing.protection)
                return plan, seen if left is None else left
            packing.add(alike)
            if len(alike) < len(living) and left is None:
                left = seen
        seen = segment.id
    following = seen if len(rows) == _SCAN_ROWS else SegmentId(0)
    return packing.plan(), following if left is None else left


class _Packing:
    """Moves for one segment, all of the protection that the first has."""

    def __init__(self, state: State, default: Protection) -> None:
        self._state = state
        self._default = default
        self._wanted: dict[InodeNumber, Protection] = {}
        self._bytes = 0
        self.protection = default
        self.moves: list[Move] = []

    def alike(self, living: list[Move]) -> list[Move]:
        """Those that may go into this segment."""
        if not self.moves and living:
            self.protection = self._of(living[0].number)
        return [move for move in living if self._of(move.number) == self.protection]

    def fits(self, moves: list[Move]) -> bool:
        """Whether there is room for all of them."""
        size = self._bytes + sum(move.extent.length for move in moves)
        return size <= SEGMENT_BYTES_MAX and len(self.moves) + len(moves) <= SEGMENT_RANGES_MAX

    def add(self, moves: list[Move]) -> None:
        """Take them."""
        self.moves += moves
        self._bytes += sum(move.extent.length for move in moves)

    def plan(self) -> RepackPlan:
        """What was taken."""
        return RepackPlan(tuple(self.moves), self.protection)

    def _of(self, number: InodeNumber) -> Protection:
        known = self._wanted.get(number)
        if known is None:
            known = self._wanted[number] = effective(self._state, number, self._default)
        return known


def living_in(state: State, segment: Segment) -> Iterator[Move]:
    """The extents that point into a segment: what was packed tells where to look.

    Ranges of one file may have covered each other: each extent is found by the one that it is left of.
    """
    for placed in state.contents(segment.id):
        for offset, extent in extents_within(state, placed.inode, placed.offset, placed.offset + placed.length):
            if extent.segment == segment.id and extent.at - placed.at == offset - placed.offset:
                yield Move(placed.inode, offset, extent)
