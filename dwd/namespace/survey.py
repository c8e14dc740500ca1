"""Walk a whole namespace and say what is wrong with it: fsck's eyes on metadata, as a function of the state.

Give it a state that does not change meanwhile (a snapshot). Memory grows with inodes and segments: some 100 bytes each.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import attrs

from dwd.model.ids import NO_BRICK, ROOT, BrickId, InodeNumber, SegmentId
from dwd.model.inode import Inode
from dwd.model.segment import Segment
from dwd.model.topology import Standing
from dwd.namespace import keys, records
from dwd.namespace.bricks import has_twice
from dwd.namespace.state import State

_REPORT_EVERY = 1024  # rows


@attrs.frozen
class Defect:
    """One thing that is wrong; the codes are public (docs/OPERATIONS.md)."""

    code: str
    subject: str
    detail: str


@attrs.define
class Survey:
    """What was walked, and what was counted on the way."""

    inodes: int = 0
    entries: int = 0
    extents: int = 0
    segments: int = 0
    defects: list[Defect] = attrs.field(factory=list)
    links: Counter[InodeNumber] = attrs.field(factory=Counter)
    children: Counter[InodeNumber] = attrs.field(factory=Counter)
    subdirectories: Counter[InodeNumber] = attrs.field(factory=Counter)
    live: Counter[SegmentId] = attrs.field(factory=Counter)
    inline: Counter[InodeNumber] = attrs.field(factory=Counter)
    allocated: Counter[InodeNumber] = attrs.field(factory=Counter)
    bricks: set[BrickId] = attrs.field(factory=set)
    lengths: dict[SegmentId, int] = attrs.field(factory=dict)  # of segments; -1: it has no record

    def found(self, code: str, subject: str, detail: str) -> None:
        """Note a defect."""
        self.defects.append(Defect(code, subject, detail))


def survey(state: State, progress: Callable[[int], None]) -> Survey:
    """Check every row of every table against the others; `progress` is told how many rows were seen."""
    result = Survey()
    seen = 0
    for step in (_bricks, _entries, _extents, _inodes, _segments, _policies, _conversions):
        for _ in step(state, result):
            seen += 1
            if seen % _REPORT_EVERY == 0:
                progress(seen)
    _counters(state, result)
    return result


def _bricks(state: State, result: Survey) -> Iterator[None]:
    uuids: dict[bytes, BrickId] = {}
    for key, raw in state.store.range(*keys.table(b"K")):
        brick = records.BRICK.decode(raw)
        result.bricks.add(brick.id)
        subject = f"brick {brick.id}"
        if keys.number_of(key) != brick.id:
            result.found("wrong-number", subject, f"stands under {keys.number_of(key)}")
        if brick.standing is not Standing.REMOVED and uuids.setdefault(brick.uuid, brick.id) != brick.id:
            result.found("repeated-brick", subject, f"is the same folder as brick {uuids[brick.uuid]}")
        yield


def _entries(state: State, result: Survey) -> Iterator[None]:
    for key, raw in state.store.range(*keys.table(b"D")):
        parent, name = InodeNumber(keys.number_of(key)), keys.entry_name(key)
        record = records.ENTRY.decode(raw)
        subject = f"entry {name!r} of directory {parent}"
        result.entries += 1
        result.links[record.number] += 1
        result.children[parent] += 1
        inode = state.find_inode(record.number)
        if inode is None:
            result.found("dangling-entry", subject, f"leads to inode {record.number}, which does not exist")
        else:
            _entry_fits(result, subject, parent, record.kind, inode)
        if keys.entry_hash(key) != keys.name_hash(name, state.volume.seed):
            result.found("misplaced-entry", subject, "its hash is not its name's: it cannot be looked up")
        yield


def _entry_fits(result: Survey, subject: str, parent: InodeNumber, kind: int, inode: Inode) -> None:
    if inode.kind != kind:
        result.found("wrong-kind", subject, f"says type {kind:o}, the inode says {inode.kind:o}")
    if inode.is_directory:
        result.subdirectories[parent] += 1
        if inode.parent != parent:
            result.found("wrong-parent", subject, f"the directory says that its parent is {inode.parent}")


def _extents(state: State, result: Survey) -> Iterator[None]:
    previous, end = InodeNumber(0), 0
    for key, raw in state.store.range(*keys.table(b"E")):
        number, offset = InodeNumber(keys.number_of(key)), keys.extent_offset(key)
        extent = records.EXTENT.decode(raw)
        subject = f"inode {number} at byte {offset}"
        result.extents += 1
        result.allocated[number] += extent.length
        if number == previous and offset < end:
            result.found("overlapping-extents", subject, f"begins before the extent in front of it ends ({end})")
        previous, end = number, offset + extent.length
        if extent.inline:
            result.inline[number] += extent.length
            if len(extent.data) != extent.length:
                result.found("wrong-inline-length", subject, f"{len(extent.data)} bytes for {extent.length}")
        else:
            _extent_fits(state, result, subject, extent.segment, extent.at + extent.length)
            result.live[extent.segment] += extent.length
        yield


def _extent_fits(state: State, result: Survey, subject: str, number: SegmentId, end: int) -> None:
    if number not in result.lengths:  # a record lists up to 4096 ranges: it is read once, not for each extent
        segment = state.find_segment(number)
        result.lengths[number] = -1 if segment is None else segment.length
    length = result.lengths[number]
    if length < 0:
        result.found("missing-segment", subject, f"points into segment {number:016x}, which has no record")
    elif end > length:
        result.found("extent-beyond-segment", subject, f"ends at {end} of segment {number:016x}'s {length}")


def _inodes(state: State, result: Survey) -> Iterator[None]:
    for key, raw in state.store.range(*keys.table(b"I")):
        inode = records.INODE.decode(raw)
        result.inodes += 1
        subject = f"inode {inode.number}"
        if keys.number_of(key) != inode.number:
            result.found("wrong-number", subject, f"stands under {keys.number_of(key)}")
        for code, have, want in _expectations(result, inode):
            if have != want:
                result.found(code, subject, f"says {have}, counted {want}")
        last = state.extent_before(inode.number, 1 << 63)
        if last is not None and last[0] + last[1].length > inode.size:
            result.found("extent-beyond-size", subject, f"bytes up to {last[0] + last[1].length}, size {inode.size}")
        if (inode.links == 0) != state.is_orphan(inode.number):
            result.found("wrong-orphan", subject, "has no name and is not kept as an orphan, or the other way round")
        yield


def _expectations(result: Survey, inode: Inode) -> Iterator[tuple[str, int, int]]:
    number = inode.number
    named = result.links[number]
    if inode.is_directory:
        subdirectories = result.subdirectories[number]
        yield "wrong-link-count", inode.links, 2 + subdirectories if named or number == ROOT else 0
        yield "wrong-entry-count", inode.size, result.children[number]
    else:
        yield "wrong-link-count", inode.links, named
    yield "wrong-allocation", inode.allocated, result.allocated[number]


def _segments(state: State, result: Survey) -> Iterator[None]:
    for letter in (b"S", b"G"):
        for segment in state.segments(letter):
            result.segments += 1
            live = result.live[segment.id]
            if segment.live != live or (live == 0) != (letter == b"G"):
                subject = f"segment {segment.id:016x}"
                result.found("wrong-live-count", subject, f"says {segment.live} living bytes, counted {live}")
            if bool(state.contents(segment.id)) != (letter == b"S"):
                subject = f"segment {segment.id:016x}"
                result.found("wrong-contents", subject, "what was packed into it is not known, or is kept for nothing")
            _shards_fit(result, segment)
            yield


def _shards_fit(result: Survey, segment: Segment) -> None:
    """A volume of before bricks were registered has none that could be known."""
    subject = f"segment {segment.id:016x}"
    if len(segment.bricks) != segment.protection.width:
        named = f"names {len(segment.bricks)} bricks for {segment.protection.width} shards"
        result.found("wrong-shard-count", subject, named)
    if has_twice(segment.bricks):
        result.found("shards-together", subject, f"has two shards on one brick: {segment.bricks}")
    unknown = set(segment.bricks) - result.bricks - {NO_BRICK}
    if result.bricks and unknown:
        result.found("unknown-brick", subject, f"has shards on bricks that no record names: {sorted(unknown)}")


def _policies(state: State, result: Survey) -> Iterator[None]:
    for number, policy in state.policies():
        inode = state.find_inode(number)
        subject = f"policy of inode {number}"
        if inode is None or inode.links == 0:
            result.found("dangling-policy", subject, "there is no such file or directory")
        elif inode.protection != policy.protection:
            result.found("wrong-policy", subject, f"says {policy.protection}, the inode says {inode.protection}")
        yield


def _conversions(state: State, result: Survey) -> Iterator[None]:
    for key, raw in state.store.range(*keys.table(b"J")):
        conversion = records.CONVERSION.decode(raw)
        subject = f"conversion of inode {conversion.number}"
        inode = state.find_inode(conversion.number)
        if keys.number_of(key) != conversion.number:
            result.found("wrong-number", subject, f"stands under {keys.number_of(key)}")
        if inode is None or inode.links == 0:
            result.found("dangling-conversion", subject, "there is no such file or directory")
        yield


def _counters(state: State, result: Survey) -> None:
    volume = state.volume
    for code, have, want in (
        ("wrong-inode-total", volume.inodes, result.inodes),
        ("wrong-stored-total", volume.stored_bytes, result.live.total()),
        ("wrong-inline-total", volume.inline_bytes, result.inline.total()),
    ):
        if have != want:
            result.found(code, "volume", f"says {have}, counted {want}")
