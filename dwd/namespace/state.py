"""Typed access to the store, for queries and for commands in the making.

Every record that is put carries the index of the command that puts it (D3).
"""

import errno
from collections.abc import Iterator

from msgspec.structs import replace

from dwd.model.checks import invariant
from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import BrickId, InodeNumber, LogIndex, RequestNumber, SegmentId, SessionId
from dwd.model.inode import Inode
from dwd.model.segment import Extent, Placed, Segment
from dwd.namespace import keys, records
from dwd.namespace.records import (
    BrickRecord,
    ContentsRecord,
    ConversionRecord,
    EntryRecord,
    InlineRecord,
    OrphanRecord,
    PolicyRecord,
    ScrubRecord,
    VolumeRecord,
    XattrRecord,
)
from dwd.namespace.store import Store


class State:
    """The namespace: what queries read, and what apply() changes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.index = LogIndex(0)  # of the command in hand
        self.time = 0  # of the command in hand
        self.writes = 0  # rises with every change: a refusal must leave it alone
        self.newest_requests: dict[SessionId, RequestNumber] = {}  # derived from table Q, as far as it was asked for
        self._converting: set[InodeNumber] | None = None  # derived from table J
        raw = store.get(keys.VOLUME)
        self.volume = records.VOLUME.decode(raw) if raw is not None else VolumeRecord(*[0] * 8)  # type: ignore[arg-type]

    @property
    def exists(self) -> bool:
        """Whether the volume has been made."""
        return self.volume.next_number > 0

    def begin(self, index: LogIndex, time: int) -> None:
        """Take a command in hand."""
        self.index, self.time = index, time

    def put_volume(self) -> None:
        """Keep the counters."""
        self.volume.changed = self.index
        self._put(keys.VOLUME, records.VOLUME.encode(self.volume))

    def _put(self, key: bytes, value: bytes) -> None:
        self.writes += 1
        self.store.put(key, value)

    def delete(self, key: bytes) -> None:
        """Remove a row."""
        self.writes += 1
        self.store.delete(key)

    # Inodes

    def find_inode(self, number: InodeNumber) -> Inode | None:
        """The inode, named or orphaned, or None."""
        raw = self.store.get(keys.inode(number))
        return None if raw is None else records.INODE.decode(raw)

    def inode(self, number: InodeNumber) -> Inode:
        """The inode. Raises NamespaceRefusal(ENOENT)."""
        found = self.find_inode(number)
        if found is None:
            raise NamespaceRefusal(errno.ENOENT)
        return found

    def inode_row(self, number: InodeNumber) -> bytes:
        """The same, as the store has it. Raises NamespaceRefusal(ENOENT)."""
        raw = self.store.get(keys.inode(number))
        if raw is None:
            raise NamespaceRefusal(errno.ENOENT)
        return raw

    def directory(self, number: InodeNumber) -> Inode:
        """A directory that has a name. Raises NamespaceRefusal."""
        found = self.inode(number)
        if not found.is_directory:
            raise NamespaceRefusal(errno.ENOTDIR)
        if found.links == 0:
            raise NamespaceRefusal(errno.ENOENT)
        return found

    def put_inode(self, inode: Inode) -> Inode:
        """Keep a new inode."""
        self._put(keys.inode(inode.number), records.INODE.encode(inode))
        return inode

    def change(self, inode: Inode, **fields: object) -> Inode:
        """Keep an inode with other values in some fields."""
        return self.put_inode(replace(inode, changed=self.index, **fields))

    # Entries

    def find_entry(self, parent: InodeNumber, name: bytes) -> EntryRecord | None:
        """Where a name leads, or None."""
        raw = self.store.get(self._entry_key(parent, name))
        return None if raw is None else records.ENTRY.decode(raw)

    def entry(self, parent: InodeNumber, name: bytes) -> EntryRecord:
        """Where a name leads. Raises NamespaceRefusal(ENOENT)."""
        found = self.find_entry(parent, name)
        if found is None:
            raise NamespaceRefusal(errno.ENOENT)
        return found

    def put_entry(self, parent: InodeNumber, name: bytes, inode: Inode) -> None:
        """Let a name lead to an inode."""
        record = EntryRecord(self.index, inode.number, inode.kind)
        self._put(self._entry_key(parent, name), records.ENTRY.encode(record))

    def delete_entry(self, parent: InodeNumber, name: bytes) -> None:
        """Remove a name."""
        self.delete(self._entry_key(parent, name))

    def _entry_key(self, parent: InodeNumber, name: bytes) -> bytes:
        return keys.entry(parent, keys.name_hash(name, self.volume.seed), name)

    # Extended attributes

    def find_xattr(self, number: InodeNumber, name: bytes) -> bytes | None:
        """The value, or None."""
        raw = self.store.get(keys.xattr(number, name))
        return None if raw is None else records.XATTR.decode(raw).value

    def put_xattr(self, number: InodeNumber, name: bytes, value: bytes) -> None:
        """Keep a value."""
        self._put(keys.xattr(number, name), records.XATTR.encode(XattrRecord(self.index, value)))

    # Extents and segments

    def extents(self, number: InodeNumber, start: int, end: int, limit: int = 0) -> Iterator[tuple[int, Extent]]:
        """Extents that begin in [start, end), with their offsets."""
        for key, raw in self.store.range(keys.extent(number, start), keys.extent(number, end), limit):
            yield keys.extent_offset(key), records.EXTENT.decode(raw)

    def extent_before(self, number: InodeNumber, offset: int) -> tuple[int, Extent] | None:
        """The extent that begins last before `offset`."""
        row = self.store.last(keys.extent(number, 0), keys.extent(number, offset))
        return None if row is None else (keys.extent_offset(row[0]), records.EXTENT.decode(row[1]))

    def find_extent(self, number: InodeNumber, offset: int) -> Extent | None:
        """The extent that begins at `offset`, or None."""
        raw = self.store.get(keys.extent(number, offset))
        return None if raw is None else records.EXTENT.decode(raw)

    def put_extent(self, number: InodeNumber, offset: int, extent: Extent) -> None:
        """Keep an extent."""
        self._put(keys.extent(number, offset), records.EXTENT.encode(replace(extent, changed=self.index)))

    def find_segment(self, number: SegmentId) -> Segment | None:
        """The record of a segment that extents point into, or None."""
        raw = self.store.get(keys.segment(number))
        return None if raw is None else records.SEGMENT.decode(raw)

    def names_segment(self, number: SegmentId) -> bool:
        """Whether a record names it, in use or garbage."""
        get = self.store.get
        return get(keys.segment(number)) is not None or get(keys.garbage(number)) is not None

    def segments(self, letter: bytes) -> Iterator[Segment]:
        """All of table S (in use) or G (garbage)."""
        for _, raw in self.store.range(*keys.table(letter)):
            yield records.SEGMENT.decode(raw)

    def put_segment(self, segment: Segment) -> None:
        """Keep a segment, among the garbage if nothing points into it."""
        invariant(0 <= segment.live <= segment.length, "N3", segment)
        kept = records.SEGMENT.encode(replace(segment, changed=self.index))
        self._put((keys.segment if segment.live else keys.garbage)(segment.id), kept)
        if not segment.live:
            self.delete(keys.segment(segment.id))
            self.delete(keys.contents(segment.id))

    def put_contents(self, number: SegmentId, placed: tuple[Placed, ...]) -> None:
        """Keep what was packed into a segment."""
        self._put(keys.contents(number), records.CONTENTS.encode(ContentsRecord(self.index, placed)))

    def contents(self, number: SegmentId) -> tuple[Placed, ...]:
        """What was packed into a segment that is in use."""
        raw = self.store.get(keys.contents(number))
        return () if raw is None else records.CONTENTS.decode(raw).placed

    def inline_bytes(self, number: InodeNumber) -> int:
        """How many bytes of a file are inline."""
        raw = self.store.get(keys.inline(number))
        return 0 if raw is None else records.INLINE.decode(raw).bytes

    def put_inline_bytes(self, number: InodeNumber, count: int) -> None:
        """Keep that number; a file without has no row."""
        if count:
            self._put(keys.inline(number), records.INLINE.encode(InlineRecord(self.index, count)))
        else:
            self.delete(keys.inline(number))

    # Orphans

    def put_orphan(self, number: InodeNumber) -> None:
        """Remember an inode that lost its last name."""
        self._put(keys.orphan(number), records.ORPHAN.encode(OrphanRecord(self.index)))

    def is_orphan(self, number: InodeNumber) -> bool:
        """Whether it lost its last name and is not reaped yet."""
        return self.store.get(keys.orphan(number)) is not None

    def orphans(self) -> Iterator[InodeNumber]:
        """All of them."""
        for key, _ in self.store.range(*keys.table(b"O")):
            yield InodeNumber(keys.number_of(key))

    # Policies and conversions

    def policy(self, number: InodeNumber) -> PolicyRecord | None:
        """What was set on an inode itself, or None."""
        raw = self.store.get(keys.policy(number))
        return None if raw is None else records.POLICY.decode(raw)

    def policies(self) -> Iterator[tuple[InodeNumber, PolicyRecord]]:
        """All of them."""
        for key, raw in self.store.range(*keys.table(b"P")):
            yield InodeNumber(keys.number_of(key)), records.POLICY.decode(raw)

    def put_policy(self, number: InodeNumber, record: PolicyRecord) -> None:
        """Keep a policy."""
        self._put(keys.policy(number), records.POLICY.encode(record))

    def conversions(self) -> Iterator[ConversionRecord]:
        """All of them."""
        for _, raw in self.store.range(*keys.table(b"J")):
            yield records.CONVERSION.decode(raw)

    def conversion(self, number: InodeNumber) -> ConversionRecord | None:
        """The conversion that has this inode at its top, or None."""
        if number not in self.converting:
            return None
        raw = self.store.get(keys.conversion(number))
        return None if raw is None else records.CONVERSION.decode(raw)

    def put_conversion(self, record: ConversionRecord) -> None:
        """Keep a conversion."""
        self.converting.add(record.number)
        self._put(keys.conversion(record.number), records.CONVERSION.encode(record))

    def drop_conversion(self, number: InodeNumber) -> None:
        """Forget a conversion, if there is one."""
        if number in self.converting:
            self.converting.remove(number)
            self.delete(keys.conversion(number))

    @property
    def converting(self) -> set[InodeNumber]:
        """The keys of table J, which are few: whether an inode is one of them is asked at every unlink."""
        if self._converting is None:
            self._converting = {record.number for record in self.conversions()}
        return self._converting

    # Bricks and the scrub

    def bricks(self) -> Iterator[BrickRecord]:
        """All that ever were, in the order of their ids."""
        for _, raw in self.store.range(*keys.table(b"K")):
            yield records.BRICK.decode(raw)

    def find_brick(self, number: BrickId) -> BrickRecord | None:
        """The record of a brick, or None."""
        raw = self.store.get(keys.brick(number))
        return None if raw is None else records.BRICK.decode(raw)

    def put_brick(self, record: BrickRecord) -> None:
        """Keep a brick."""
        self._put(keys.brick(record.id), records.BRICK.encode(record))

    def scrub(self) -> ScrubRecord | None:
        """The scrub under way, or the last one; None before the first."""
        raw = self.store.get(keys.SCRUB)
        return None if raw is None else records.SCRUB.decode(raw)

    def put_scrub(self, record: ScrubRecord) -> None:
        """Keep how far the scrub is."""
        self._put(keys.SCRUB, records.SCRUB.encode(record))

    # Sessions and what their requests came to

    def put_session(self, key: bytes, record: records.SessionRecord) -> None:
        """Keep a session."""
        self._put(key, records.SESSION.encode(record))

    def put_outcome(self, key: bytes, packed: bytes) -> None:
        """Keep what a request came to."""
        self._put(key, packed)
