"""Where bytes are, and whose they are: from a path to bricks, and from bricks back to paths.

Give it a state that does not change meanwhile (a snapshot). Everything is in pages, or streams in the order of the
store's keys; memory is bounded by what the caller asks for.
"""

import errno
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

import attrs

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT, InodeNumber, SegmentId
from dwd.model.inode import Inode
from dwd.model.limits import FILE_BYTES_MAX
from dwd.model.segment import Segment
from dwd.namespace import keys, records
from dwd.namespace.queries import lookup
from dwd.namespace.repacking import living_in
from dwd.namespace.state import State

_LINKS_FOLLOWED_MAX: Final = 40  # as Linux
_SEGMENTS_KNOWN_MAX: Final = 1 << 16  # whose judgement is remembered; then they are judged again


@attrs.frozen
class Portion:
    """Bytes of a file that lie in one segment, or (None) came inline."""

    segment: Segment | None
    bytes: int
    extents: int


@attrs.frozen
class Exposure:
    """The bytes of one file by what was said of their segments."""

    number: InodeNumber
    bytes: dict[int, int]


def resolve(state: State, path: bytes) -> Inode:
    """The inode that a path from the root leads to. Links on the way are followed, the last is not.

    Raises:
        NamespaceRefusal: ENOENT, ENOTDIR, ELOOP; EXDEV for an absolute link, whose target is nobody's here.
    """
    here, waiting, followed = state.inode(ROOT), deque(path.split(b"/")), 0
    while waiting:
        name = waiting.popleft()
        if name in {b"", b"."}:
            continue
        found = state.inode(state.directory(here.number).parent) if name == b".." else lookup(state, here.number, name)
        if found is None:
            raise NamespaceRefusal(errno.ENOENT, repr(name))
        if not (found.is_symlink and any(waiting)):
            here = found
            continue
        followed += 1
        if followed > _LINKS_FOLLOWED_MAX:
            raise NamespaceRefusal(errno.ELOOP, repr(name))
        if found.target.startswith(b"/"):
            raise NamespaceRefusal(errno.EXDEV, f"{name!r} is a link to {found.target!r}")
        waiting.extendleft(reversed(found.target.split(b"/")))
    return here


def portions(state: State, number: InodeNumber, start: int, limit: int) -> tuple[list[Portion], int | None]:
    """At most `limit` extents from a file offset on, by segment; and where to go on (None: that was all)."""
    page = list(state.extents(number, start, FILE_BYTES_MAX, limit))
    held: Counter[SegmentId] = Counter()
    pieces: Counter[SegmentId] = Counter()
    for _, extent in page:
        held[extent.segment] += extent.length
        pieces[extent.segment] += 1
    found = [Portion(state.find_segment(segment), size, pieces[segment]) for segment, size in held.items()]
    return found, page[-1][0] + 1 if len(page) == limit else None


def holders(state: State, segments: Iterable[SegmentId]) -> Iterator[tuple[SegmentId, InodeNumber, int]]:
    """The files that have bytes in each of these segments, and how many."""
    for number in segments:
        segment = state.find_segment(number)
        if segment is None:
            continue
        held: Counter[InodeNumber] = Counter()
        for move in living_in(state, segment):
            held[move.number] += move.extent.length
        for inode, size in held.items():
            yield number, inode, size


def exposures(state: State, judge: Callable[[Segment], int]) -> Iterator[Exposure]:
    """Every file with bytes in segments, in the order of inodes, orphans too; `judge` says something of a segment."""
    known: dict[SegmentId, int | None] = {}
    current, held = InodeNumber(0), Counter[int]()
    for key, raw in state.store.range(*keys.table(b"E")):
        extent = records.EXTENT.decode(raw)
        if extent.inline:
            continue
        number = InodeNumber(keys.number_of(key))
        if number != current:
            if held:
                yield Exposure(current, dict(held))
            current, held = number, Counter()
        said = _judged(state, extent.segment, judge, known)
        if said is not None:
            held[said] += extent.length
    if held:
        yield Exposure(current, dict(held))


def _judged(
    state: State, number: SegmentId, judge: Callable[[Segment], int], known: dict[SegmentId, int | None]
) -> int | None:
    """None: it has no record, which is for fsck to tell."""
    if number not in known:
        if len(known) >= _SEGMENTS_KNOWN_MAX:
            known.clear()
        segment = state.find_segment(number)
        known[number] = None if segment is None else judge(segment)
    return known[number]


def paths(state: State, numbers: Collection[InodeNumber]) -> dict[InodeNumber, bytes]:
    """A path from the root for each of these inodes; one without a name is not in it.

    Only a directory knows where it is: for the others table D is read until each of them was seen.
    """
    trails = _Trails(state)
    found: dict[InodeNumber, bytes] = {}
    sought: set[InodeNumber] = set()
    for number in numbers:
        inode = state.find_inode(number)
        if inode is not None and inode.links and not inode.is_directory:
            sought.add(number)
        elif inode is not None and inode.links:
            found[number] = trails.of(number) or b"/"
    for parent, name, number in _entries(state, keys.table(b"D")) if sought else ():
        if number in sought:
            found[number] = trails.of(parent) + b"/" + name
            sought.remove(number)
            if not sought:
                break
    return found


def _entries(state: State, bounds: tuple[bytes, bytes]) -> Iterator[tuple[InodeNumber, bytes, InodeNumber]]:
    for key, raw in state.store.range(*bounds):
        yield InodeNumber(keys.number_of(key)), keys.entry_name(key), records.ENTRY.decode(raw).number


class _Trails:
    """Paths of directories, each found once: its parent is read until its name turns up."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: dict[InodeNumber, bytes] = {ROOT: b""}

    def of(self, number: InodeNumber) -> bytes:
        """The path without a slash behind it: nothing for the root."""
        missing: list[tuple[InodeNumber, InodeNumber]] = []
        while number not in self._known:
            parent = self._state.inode(number).parent
            missing.append((number, parent))
            number = parent
        trail = self._known[number]
        for below, parent in reversed(missing):
            trail += b"/" + self._name(below, parent)
            self._known[below] = trail
        return trail

    def _name(self, number: InodeNumber, parent: InodeNumber) -> bytes:
        rows = _entries(self._state, keys.rows_of(b"D", parent))
        return next((name for _, name, found in rows if found == number), b"?")
