"""Read files: extents from the namespace, bytes from segments, zeros for holes."""

from dwd.model.errors import SegmentLost
from dwd.model.ids import InodeNumber
from dwd.model.segment import Extent, Segment
from dwd.namespace.queries import extents_within
from dwd.namespace.state import State
from dwd.services.segments import Segments

_ATTEMPTS_MAX = 3  # a compactor may take a segment away between looking it up and reading it


class FileReader:
    """Reads of whole byte ranges, from the state as it is at the time."""

    def __init__(self, state: State, segments: Segments) -> None:
        self._state = state
        self._segments = segments

    def read_nowait(self, number: InodeNumber, offset: int, length: int) -> bytes | None:
        """The bytes if all of them are in memory, else None. Raises NamespaceRefusal: no such inode."""
        length = self._length(number, offset, length)
        pieces: list[bytes] = []
        position = offset
        for start, extent in self._extents(number, offset, length):
            pieces.append(bytes(start - position))
            piece = (
                extent.data
                if extent.inline
                else self._segments.read_nowait(self._segment(extent), extent.at, extent.length)
            )
            if piece is None:
                return None
            pieces.append(piece)
            position = start + extent.length
        pieces.append(bytes(offset + length - position))
        return b"".join(pieces)

    async def read(self, number: InodeNumber, offset: int, length: int) -> bytes:
        """The bytes; fewer than asked for only at the end of the file.

        Raises:
            NamespaceRefusal: no such inode.
            SegmentLost: some of them cannot be read or computed.
        """
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            try:
                return await self._read(number, offset, length)
            except SegmentLost:
                if attempt == _ATTEMPTS_MAX:
                    raise
        raise AssertionError

    async def _read(self, number: InodeNumber, offset: int, length: int) -> bytes:
        length = self._length(number, offset, length)
        buffer = bytearray(length)
        for start, extent in self._extents(number, offset, length):
            piece = extent.data
            if not extent.inline:
                piece = await self._segments.read(self._segment(extent), extent.at, extent.length)
            buffer[start - offset : start - offset + extent.length] = piece
        return bytes(buffer)

    def _extents(self, number: InodeNumber, offset: int, length: int) -> list[tuple[int, Extent]]:
        """A list, for the state may change while its segments are read."""
        return list(extents_within(self._state, number, offset, offset + length)) if length else []

    def _length(self, number: InodeNumber, offset: int, length: int) -> int:
        return max(0, min(length, self._state.inode(number).size - offset))

    def _segment(self, extent: Extent) -> Segment:
        found = self._state.find_segment(extent.segment)
        if found is None:
            raise SegmentLost(f"segment {extent.segment:016x} was replaced while it was read")
        return found
