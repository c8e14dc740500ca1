"""The values of the store's tables that are not nouns of the model.

Each begins with the log index of its last change.
"""

from enum import IntEnum
from typing import Generic, TypeVar

import msgspec

from dwd.model.ids import BrickId, Epoch, InodeNumber, LogIndex, NodeId, RequestNumber, SegmentId
from dwd.model.inode import Inode
from dwd.model.protection import Protection
from dwd.model.segment import Extent, Placed, Segment
from dwd.model.topology import Standing


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


class PolicyRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table P: a protection that was set on this inode itself, and not handed down to it."""

    changed: LogIndex
    protection: Protection
    previous: Protection | None = None  # what was set on it before; None: nothing


class BrickRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table K: a brick, as every node is to know it."""

    changed: LogIndex
    id: BrickId
    uuid: bytes  # of its superblock
    node: NodeId
    weight: float  # its share of what is placed
    standing: Standing
    domain: str  # bricks of one domain share a fate
    note: str  # why it stands so
    since: int  # ns since 1970: how long it stands so


class ConversionState(IntEnum):
    """What a conversion is at."""

    RUNNING = 1
    PAUSED = 2


class ConversionRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table J: everything below an inode is on its way to another protection."""

    changed: LogIndex
    number: InodeNumber
    protection: Protection | None  # None: the volume's
    previous: Protection | None  # the policy that stood there before: what revert goes back to
    state: ConversionState
    started: int  # ns since 1970


class ScrubRecord(msgspec.Struct, frozen=True, array_like=True):
    """Table C: the one record of the scrub under way, or of the last one."""

    changed: LogIndex
    started: int  # ns since 1970
    cursor: SegmentId  # every segment up to here has been read
    finished: int  # ns since 1970; 0: it is under way
    segments: int
    bytes: int
    damaged: int  # shards


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
POLICY = Format(PolicyRecord)
BRICK = Format(BrickRecord)
CONVERSION = Format(ConversionRecord)
SCRUB = Format(ScrubRecord)
