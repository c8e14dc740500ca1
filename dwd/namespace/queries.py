"""Read-only views of the namespace."""

import errno
from collections.abc import Iterator
from itertools import islice

import msgspec

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode
from dwd.model.limits import DIRECTORY_PAGE_BYTES_MAX, XATTR_LIST_BYTES_MAX
from dwd.model.segment import Extent
from dwd.namespace import keys, records
from dwd.namespace.state import State

_ORDINAL_MAX = (1 << keys.COOKIE_ORDINAL_BITS) - 1


def lookup(state: State, parent: InodeNumber, name: bytes) -> Inode | None:
    """The inode under a name, or None. Raises NamespaceRefusal when the parent is no directory."""
    state.directory(parent)
    entry = state.find_entry(parent, name)
    return None if entry is None else state.inode(entry.number)


class Listed(msgspec.Struct, frozen=True, array_like=True):
    """One name of a directory; listing goes on behind `cookie`. On the wire too."""

    name: bytes
    cookie: int
    inode: Inode


class ListedRow(msgspec.Struct, frozen=True, array_like=True):
    """A Listed whose inode is still the row of the store: half of a listing's work was decoding and encoding it."""

    name: bytes
    cookie: int
    inode: msgspec.Raw


def list_directory(state: State, number: InodeNumber, cookie: int, limit: int) -> tuple[list[Listed], bool]:
    """At most `limit` entries behind a cookie (0: from the start), and whether that was all.

    Fewer when their names and targets are long: a page must fit in a frame.

    A cookie is a name's hash and its place among the names with the same hash, so it stays right while
    others come and go.
    """
    rows, complete = list_rows(state, number, cookie, limit)
    return [Listed(row.name, row.cookie, records.INODE.decode(row.inode)) for row in rows], complete


def list_rows(state: State, number: InodeNumber, cookie: int, limit: int) -> tuple[list[ListedRow], bool]:
    """The same, with rows."""
    position = cookie - keys.COOKIE_FIRST
    resume, skip = (0, 0) if position < 0 else (position >> keys.COOKIE_ORDINAL_BITS, (position & _ORDINAL_MAX) + 1)
    start, end = keys.entries_from(number, resume), keys.rows_of(b"D", number)[1]
    listed: list[ListedRow] = []
    hashed, ordinal, size = resume, -1, 0
    for key, raw in state.store.range(start, end, limit + skip + 1):
        here = keys.entry_hash(key)
        ordinal = ordinal + 1 if here == hashed else 0
        hashed = here
        if here == resume and ordinal < skip:
            continue
        if len(listed) == limit or size > DIRECTORY_PAGE_BYTES_MAX:
            return listed, False
        inode = state.inode_row(records.ENTRY.decode(raw).number)
        size += len(key) + len(inode)
        place = here << keys.COOKIE_ORDINAL_BITS | min(ordinal, _ORDINAL_MAX)
        listed.append(ListedRow(keys.entry_name(key), place + keys.COOKIE_FIRST, msgspec.Raw(inode)))
    return listed, True


def list_xattrs(state: State, number: InodeNumber) -> list[bytes]:
    """The names of an inode's extended attributes. Raises NamespaceRefusal: E2BIG when they are too many to be told."""
    state.inode(number)
    names: list[bytes] = []
    room = XATTR_LIST_BYTES_MAX
    for key, _ in state.store.range(*keys.rows_of(b"X", number)):
        names.append(keys.xattr_name(key))
        room -= len(names[-1]) + 1
        if room < 0:
            raise NamespaceRefusal(errno.E2BIG)
    return names


def extents_within(state: State, number: InodeNumber, start: int, end: int) -> Iterator[tuple[int, Extent]]:
    """The extents that hold bytes of [start, end), each cut to it, in order; what lies between is a hole."""
    first = state.extent_before(number, start + 1) if start < end else None
    if first is not None and first[0] + first[1].length > start:
        offset, extent = first
        skip = start - offset
        yield start, extent.part(skip, min(extent.length - skip, end - start))
        if offset + extent.length >= end:
            return  # as most small reads do: one query, not two
    for offset, extent in state.extents(number, start + 1, end):
        yield offset, extent.part(0, min(extent.length, end - offset)) if offset + extent.length > end else extent


def orphans(state: State, limit: int) -> list[InodeNumber]:
    """Some of the inodes that have no name."""
    return list(islice(state.orphans(), limit))
