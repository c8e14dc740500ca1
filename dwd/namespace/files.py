"""Bytes of files: which extents hold them, and what a change of them frees.

Extents of one file never overlap (invariant N2) and never reach beyond its size; a gap is a hole.
A segment's `live` counts the bytes that extents point at; at 0 it is garbage (N3).
"""

from collections import Counter

from msgspec.structs import replace

from dwd.model.checks import invariant
from dwd.model.ids import InodeNumber, SegmentId
from dwd.model.inode import Inode
from dwd.model.limits import FILE_BYTES_MAX
from dwd.model.segment import Extent, Placed, Segment
from dwd.namespace import keys
from dwd.namespace.commands import FileData, ForgetSegments, Reap, Relocate, StoreData
from dwd.namespace.outcomes import Done
from dwd.namespace.state import State

_PAGE_ROWS = 1024  # read at a time, so that a truncate of a large file needs bounded memory
_REAP_ROWS = 4096  # removed by one Reap, so that one command takes bounded time


class ExtentEdit:
    """Changes of extents by one command; finish() settles what segments, inline bytes and counters come to."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._freed: Counter[SegmentId] = Counter()
        self._inline: Counter[InodeNumber] = Counter()
        self._stored = 0

    def put(self, number: InodeNumber, offset: int, extent: Extent) -> None:
        """Lay an extent where nothing is."""
        self._state.put_extent(number, offset, extent)
        if extent.inline:
            self._inline[number] += extent.length
        else:
            self._stored += extent.length

    def drop(self, number: InodeNumber, extent: Extent, length: int) -> None:
        """`length` bytes of an extent are no longer pointed at."""
        if extent.inline:
            self._inline[number] -= length
        else:
            self._stored -= length
            self._freed[extent.segment] += length

    def cut(self, number: InodeNumber, start: int, end: int) -> int:
        """Make [start, end) of a file a hole; says how many bytes extents held there."""
        state = self._state
        removed = 0
        before = state.extent_before(number, start)
        if before is not None:
            offset, extent = before
            removed += self._cut_one(number, offset, extent, start, end)
        while page := list(state.extents(number, start, end, _PAGE_ROWS)):
            for offset, extent in page:
                removed += self._cut_one(number, offset, extent, start, end)
        return removed

    def _cut_one(self, number: InodeNumber, offset: int, extent: Extent, start: int, end: int) -> int:
        stop = offset + extent.length
        first, last = max(offset, start), min(stop, end)
        if first >= last:
            return 0
        if offset < start:
            self._state.put_extent(number, offset, extent.part(0, start - offset))
        else:
            self._state.delete(keys.extent(number, offset))
        if stop > end:
            self._state.put_extent(number, end, extent.part(end - offset, stop - end))
        self.drop(number, extent, last - first)
        return last - first

    def finish(self) -> None:
        """Settle segments, inline counts and the volume's counters."""
        state = self._state
        for number, freed in self._freed.items():
            segment = state.find_segment(number)
            invariant(segment is not None, "N4", number)
            if segment is not None:
                state.put_segment(replace(segment, live=segment.live - freed))
        for inode, delta in self._inline.items():
            if delta:
                state.put_inline_bytes(inode, state.inline_bytes(inode) + delta)
        state.volume.inline_bytes += self._inline.total()
        state.volume.stored_bytes += self._stored


def store_data(state: State, op: StoreData) -> Done:
    """Lay bytes into files; those whose file is gone by now are dead on arrival."""
    edit = ExtentEdit(state)
    placed: list[Placed] = []
    touched: list[Inode] = []
    for data in op.files:
        inode = state.find_inode(data.number)
        if inode is None or not inode.is_regular:
            continue
        touched.append(_lay(state, edit, inode, data, op.segment))
        placed.extend(Placed(data.number, offset, length, at) for offset, length, at in data.ranges)
    _keep_new_segment(state, op.segment, placed)
    edit.finish()
    return Done(tuple(touched))


def _keep_new_segment(state: State, segment: Segment | None, placed: list[Placed]) -> None:
    """Kept before the edit is settled: a range that covers another of the same command frees bytes of it."""
    if segment is not None:
        live = sum(p.length for p in placed)
        state.put_segment(replace(segment, live=live))
        if live:
            state.put_contents(segment.id, tuple(placed))


def _lay(state: State, edit: ExtentEdit, inode: Inode, data: FileData, segment: Segment | None) -> Inode:
    pieces = [(offset, Extent(state.index, len(raw), data=raw)) for offset, raw in data.inline]
    if segment is not None:
        pieces += [(offset, Extent(state.index, length, segment.id, at)) for offset, length, at in data.ranges]
    size, allocated = inode.size, inode.allocated
    for offset, extent in pieces:
        if not extent.length:
            continue  # an empty extent would stand in the place of what begins there
        end = offset + extent.length
        if offset < size:
            allocated -= edit.cut(inode.number, offset, end)
        edit.put(inode.number, offset, extent)
        allocated += extent.length
        size = max(size, end)
    invariant(size <= FILE_BYTES_MAX, "N5", size)
    mtime = inode.mtime if data.mtime is None else data.mtime
    ctime = inode.ctime if data.mtime is None else max(inode.ctime, data.mtime)
    atime = inode.atime if data.atime is None else data.atime
    return state.change(inode, size=size, allocated=allocated, mtime=mtime, ctime=ctime, atime=atime)


def resize(state: State, inode: Inode, size: int) -> Inode:
    """Cut off what lies beyond, or let a hole follow."""
    allocated = inode.allocated
    if size < inode.size:
        edit = ExtentEdit(state)
        allocated -= edit.cut(inode.number, size, FILE_BYTES_MAX)
        edit.finish()
    return state.change(inode, size=size, allocated=allocated)


def relocate(state: State, op: Relocate) -> Done:
    """Point extents at their copies; one that changed meanwhile keeps its own."""
    edit = ExtentEdit(state)
    placed: list[Placed] = []
    for move in op.moves:
        extent = state.find_extent(move.number, move.offset)
        if extent is None or extent.changed != move.changed or extent.length != move.length:
            continue
        edit.drop(move.number, extent, extent.length)
        edit.put(move.number, move.offset, Extent(state.index, move.length, op.segment.id, move.at))
        placed.append(Placed(move.number, move.offset, move.length, move.at))
    _keep_new_segment(state, op.segment, placed)
    edit.finish()
    return Done(value=len(placed))


def reap(state: State, op: Reap) -> Done:
    """Delete orphans; the outcome's value says how many of them are not finished yet."""
    edit = ExtentEdit(state)
    budget, unfinished = _REAP_ROWS, 0
    for number in op.numbers:
        if not state.is_orphan(number):
            continue
        budget = _reap_extents(state, edit, number, budget)
        budget -= _remove_rows(state, keys.rows_of(b"X", number), budget)
        if budget <= 0:
            unfinished += 1
            continue
        state.delete(keys.inode(number))
        state.delete(keys.orphan(number))
        state.volume.inodes -= 1
    edit.finish()
    return Done(value=unfinished)


def _reap_extents(state: State, edit: ExtentEdit, number: InodeNumber, budget: int) -> int:
    """Remove at most `budget` extents; says how much of it is left. An inode that waits for more keeps true counts."""
    if budget <= 0:
        return 0
    rows = list(state.extents(number, 0, FILE_BYTES_MAX, budget))
    for offset, extent in rows:
        edit.drop(number, extent, extent.length)
        state.delete(keys.extent(number, offset))
    inode = state.find_inode(number)
    if inode is not None and len(rows) == budget:
        state.change(inode, allocated=inode.allocated - sum(extent.length for _, extent in rows))
    return budget - len(rows)


def _remove_rows(state: State, bounds: tuple[bytes, bytes], budget: int) -> int:
    """Remove at most `budget` rows; says how many."""
    if budget <= 0:
        return 0
    found = [key for key, _ in state.store.range(*bounds, budget)]
    for key in found:
        state.delete(key)
    return len(found)


def forget_segments(state: State, op: ForgetSegments) -> Done:
    """The shards of these dead segments are gone, so their records may go."""
    for number in op.segments:
        state.delete(keys.garbage(number))
    return Done()
