"""Segments and the extents that point into them (D1)."""

import msgspec

from dwd.model.ids import BrickId, InodeNumber, LogIndex, SegmentId
from dwd.model.protection import Protection


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """One range that was packed into a segment: where it was for a file, and where it lies here."""

    inode: InodeNumber
    offset: int  # in the file
    length: int
    at: int  # in the segment


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A stored segment. Its bytes never change; `live` does, and bricks[i], which holds shard i."""

    changed: LogIndex
    id: SegmentId
    protection: Protection
    length: int
    live: int  # bytes that extents still point at
    bricks: tuple[BrickId, ...]
    digest: bytes  # BLAKE3 of its bytes
    wanted: Protection | None = None  # written at a fallback: what it is to have; None: it has it

    @property
    def meant(self) -> Protection:
        """The protection that it is to have."""
        return self.wanted or self.protection


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """A range of a file; its offset is in its key.

    Its bytes are in a segment, or here (`data`) when they came inline (D2).
    """

    changed: LogIndex
    length: int
    segment: SegmentId = SegmentId(0)  # 0: inline
    at: int = 0  # in the segment
    data: bytes = b""

    @property
    def inline(self) -> bool:
        """Whether the bytes are in the record itself."""
        return self.segment == 0

    def part(self, skip: int, length: int) -> "Extent":
        """The piece that begins `skip` bytes into this one."""
        if self.inline:
            return Extent(self.changed, length, data=self.data[skip : skip + length])
        return Extent(self.changed, length, self.segment, self.at + skip)
