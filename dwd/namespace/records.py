"""The values of the store's tables that are not nouns of the model.

Each begins with the log index of its last change.
"""

from typing import Generic, TypeVar

import msgspec

from dwd.model.ids import Epoch, InodeNumber, LogIndex, RequestNumber
from dwd.model.inode import Inode
from dwd.model.segment import Extent, Placed, Segment


class VolumeRecord(msgspec.Struct, array_like=True):
    """Table V: the one record that counts. Changed in place while a command is applied, then put."""

    changed: LogIndex
    seed: int  # of name hashes
    created: int  # ns since 1970
    epoch: Epoch  # starts of the daemon
    next_number: int  # every inode number ever used lies below it
    inodes: int  # orphans included
    stored_bytes: int  # of extents in segments
    inline_bytes: int  # of extents inline

    @property
    def used(self) -> int:
        """Bytes of file data."""
        return self.stored_bytes + self.inline_bytes


class EntryRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table D: where a name leads."""

    changed: LogIndex
    number: InodeNumber
    kind: int  # S_IFMT bits


class XattrRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table X."""

    changed: LogIndex
    value: bytes


class InlineRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table B: how many inline bytes a file has."""

    changed: LogIndex
    bytes: int


class ContentsRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table T: what was packed into a segment; extents only ever shrink within these ranges.

    Apart from the segment's own record, which is written anew whenever bytes of it die.
    """

    changed: LogIndex
    placed: tuple[Placed, ...]


class OrphanRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table O."""

    changed: LogIndex


class SessionRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table M. `first_kept`: outcomes of requests below it are forgotten, for the session has seen them."""

    changed: LogIndex
    label: str
    opened: int  # ns since 1970
    first_kept: RequestNumber


_T = TypeVar("_T")


class Format(Generic[_T]):
    """Encoder and decoder of one table's values."""

    def __init__(self, kind: type[_T]) -> None:
        self.decode = msgspec.msgpack.Decoder(kind).decode

    encode = staticmethod(msgspec.msgpack.Encoder().encode)


VOLUME = Format(VolumeRecord)
INODE = Format(Inode)
ENTRY = Format(EntryRecord)
XATTR = Format(XattrRecord)
EXTENT = Format(Extent)
INLINE = Format(InlineRecord)
SEGMENT = Format(Segment)
CONTENTS = Format(ContentsRecord)
ORPHAN = Format(OrphanRecord)
SESSION = Format(SessionRecord)
