"""From one protection to another: what a new policy reaches, and which bytes are to be written anew for it.

Pure and bounded: each plan is made in one go over the state as it is, and what it holds is void where the state
has changed by the time that it is performed (SetProtection and Relocate both say what they were made for).

A pass over a tree may miss what is made or moved in it meanwhile: whoever performs it passes again until one finds
nothing to change.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import attrs

from dwd.model.ids import ROOT, InodeNumber, SegmentId
from dwd.model.inode import Inode
from dwd.model.limits import FILE_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_RANGES_MAX
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.namespace.commands import SetProtection
from dwd.namespace.policies import effective, has_own
from dwd.namespace.queries import list_directory
from dwd.namespace.repacking import Move, RepackPlan, bounded, living_in
from dwd.namespace.state import State

_PAGE_ENTRIES: Final = 256
_SCAN_EXTENTS: Final = 4096  # looked at by one plan
_ESTIMATE_EVERY: Final = 1024  # extents of a file between two running totals
_SEGMENTS_KNOWN_MAX: Final = 1 << 16  # of whose protection an estimate is reminded; then it asks again

Pending: TypeAlias = tuple[tuple[InodeNumber, int], ...]  # directories to be listed yet, with the cookie to go on at
Position: TypeAlias = tuple[int, int]  # index among files, file offset


@attrs.frozen
class PolicyWalk:
    """A step of a pass: what is to be changed, and the files with bytes that it came by."""

    changes: tuple[SetProtection, ...]
    files: tuple[InodeNumber, ...]
    pending: Pending  # empty: the pass is over


@attrs.frozen
class ConversionStep:
    """One segment's worth; `following` is where to go on, None at the end."""

    plan: RepackPlan
    following: Position | None


@attrs.frozen
class Estimate:
    """What a tree holds, and what another protection would make of it. Stored: with all shards."""

    files: int
    directories: int  # below its top
    bytes: int
    to_rewrite: int
    stored_before: int
    stored_after: int


def begin(root: InodeNumber) -> Pending:
    """Where a pass begins."""
    return ((root, 0),)


def plan_policy_walk(state: State, root: InodeNumber, pending: Pending, limit: int) -> PolicyWalk:
    """Look at some `limit` inodes below `root`: which protections are to become the root's.

    Those with a policy of their own, and what is below them, are passed over.
    """
    top = state.find_inode(root)
    if top is None:
        return PolicyWalk((), (), ())
    reached, following = _walk(state, top, pending, limit)
    changes = (
        SetProtection(inode.number, top.protection, inode.changed)
        for inode in reached
        if inode.protection != top.protection
    )
    files = (inode.number for inode in reached if inode.is_regular and inode.allocated)
    return PolicyWalk(tuple(changes), tuple(files), following)


def _walk(state: State, top: Inode, pending: Pending, limit: int) -> tuple[list[Inode], Pending]:
    """Some files and directories that a policy on `top` reaches, itself not among them unless it is a file."""
    if not top.is_directory:
        return [top], ()
    reached: list[Inode] = []
    stack, left = list(pending), limit
    while stack and left > 0:
        number, cookie = stack.pop()
        if not _reaches(state, top.number, number):
            continue
        listed, complete = list_directory(state, number, cookie, min(left, _PAGE_ENTRIES))
        if not complete:
            stack.append((number, listed[-1].cookie))
        left -= max(1, len(listed))
        below = [entry.inode for entry in listed if entry.inode.is_regular or entry.inode.is_directory]
        below = [inode for inode in below if not has_own(state, inode)]
        stack.extend((inode.number, 0) for inode in below if inode.is_directory)
        reached += below
    return reached, tuple(stack)


def _reaches(state: State, root: InodeNumber, number: InodeNumber) -> bool:
    """Whether a directory is still below the root, with no policy in between: it may have moved since it was listed."""
    while number != root:
        inode = state.find_inode(number)
        if inode is None or number == ROOT or has_own(state, inode):
            return False
        number = inode.parent
    return True


def plan_conversion(state: State, files: Sequence[InodeNumber], at: Position, default: Protection) -> ConversionStep:
    """Bytes of these files, from a position on, that lie in segments which are not meant to have the file's protection.

    Small files share the new segment, as long as they have one protection.
    """
    moves: list[Move] = []
    protection = default
    room, budget = SEGMENT_BYTES_MAX, _SCAN_EXTENTS
    meant: dict[SegmentId, Protection | None] = {}
    index, offset = at
    while index < len(files):
        number = files[index]
        its = effective(state, number, default)
        if moves and its != protection:
            break
        protection = its
        for start, extent in state.extents(number, offset, FILE_BYTES_MAX, budget):
            if not extent.inline and _meant(state, extent.segment, meant) != protection:
                if extent.length > room or len(moves) == SEGMENT_RANGES_MAX:
                    return ConversionStep(RepackPlan(tuple(moves), protection), (index, start))
                moves.append(Move(number, start, extent))
                room -= extent.length
            budget -= 1
            offset = start + 1
        if budget <= 0:
            return ConversionStep(RepackPlan(tuple(moves), protection), (index, offset))
        index, offset = index + 1, 0
    following = (index, offset) if index < len(files) else None
    return ConversionStep(RepackPlan(tuple(moves), protection), following)


def _meant(state: State, number: SegmentId, known: dict[SegmentId, Protection | None]) -> Protection | None:
    """Read once, not for each extent."""
    if number not in known:
        segment = state.find_segment(number)
        known[number] = None if segment is None else segment.meant
    return known[number]


def plan_upgrade(state: State, segment: Segment) -> RepackPlan:
    """What lives of a segment that was written at a fallback, to be written as it was meant.

    In more pieces than a segment may have it goes in several: again, until its record is gone.
    """
    return bounded(living_in(state, segment), segment.meant)


def plan_misfits(state: State, segment: Segment, default: Protection) -> RepackPlan:
    """What lives of a segment for files that are to have another protection, of one such protection at a time."""
    chosen: list[Move] = []
    protection = segment.meant
    for move in living_in(state, segment):
        its = effective(state, move.number, default)
        if its != segment.meant and (not chosen or its == protection):
            protection = its
            chosen.append(move)
    return bounded(chosen, protection)


def estimate(state: State, root: InodeNumber, wanted: Protection) -> Iterator[Estimate]:
    """What everything that a policy on `root` would reach comes to: running totals, of which the last is the answer."""
    top = state.find_inode(root)
    counting = _Counting(state, wanted)
    pending = begin(root) if top is not None else ()
    while top is not None and pending:
        reached, pending = _walk(state, top, pending, _PAGE_ENTRIES)
        for inode in reached:
            counting.directories += inode.is_directory
            counting.files += inode.is_regular
            if inode.allocated:
                yield from counting.add_file(inode.number)
        yield counting.total()


class _Counting:
    """The sums of an estimate."""

    def __init__(self, state: State, wanted: Protection) -> None:
        self._state = state
        self._wanted = wanted
        self._protections: dict[SegmentId, Protection] = {}
        self.files = self.directories = 0
        self._bytes = self._to_rewrite = self._before = 0

    def add_file(self, number: InodeNumber) -> Iterator[Estimate]:
        """Count a file's extents; tells of it now and then, for it may have millions."""
        for seen, (_, extent) in enumerate(self._state.extents(number, 0, FILE_BYTES_MAX), 1):
            self._bytes += extent.length
            if extent.inline:
                self._before += extent.length
            else:
                protection = self._protection_of(extent.segment)
                self._before += _stored(extent.length, protection)
                self._to_rewrite += extent.length if protection != self._wanted else 0
            if seen % _ESTIMATE_EVERY == 0:
                yield self.total()

    def total(self) -> Estimate:
        """The sums so far."""
        after = _stored(self._bytes, self._wanted)
        return Estimate(self.files, self.directories, self._bytes, self._to_rewrite, self._before, after)

    def _protection_of(self, number: SegmentId) -> Protection:
        if len(self._protections) >= _SEGMENTS_KNOWN_MAX:
            self._protections.clear()
        known = self._protections.get(number)
        if known is None:
            segment = self._state.find_segment(number)
            known = self._protections[number] = self._wanted if segment is None else segment.protection
        return known


def _stored(length: int, protection: Protection) -> int:
    return length * protection.width // protection.k
