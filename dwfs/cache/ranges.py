"""The bytes of one file that are not stored yet: an ordered map of disjoint ranges to buffers.

Large writes are kept as they came, without copying. Small ones that follow each other grow one
buffer, so that a file written byte by byte costs no object a byte. A buffer that grows belongs to
one range alone: cutting it copies, so nothing that is being sent ever changes or moves.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from dwd.model.units import KIB

GROWN_BYTES_MAX: Final = 128 * KIB  # a buffer grows no further: what copying it costs stays small
_KEPT_SHARE: Final = 4  # a range of less than a quarter of its buffer is copied out, so that the rest is freed


@attrs.define(eq=False)
class Piece:
    """Bytes [start, start+length) of a file: they lie in `data` from `skip` on."""

    start: int
    data: bytes | bytearray
    skip: int
    length: int

    @property
    def end(self) -> int:
        """Where the range ends in the file."""
        return self.start + self.length

    def view(self) -> memoryview:
        """Its bytes, not copied."""
        return memoryview(self.data)[self.skip : self.skip + self.length]

    def part(self, start: int, end: int) -> "Piece":
        """The piece of [start, end), which must lie inside."""
        skip, length = self.skip + start - self.start, end - start
        if isinstance(self.data, bytearray) or length * _KEPT_SHARE < len(self.data):
            return Piece(start, bytes(memoryview(self.data)[skip : skip + length]), 0, length)
        return Piece(start, self.data, skip, length)

    def grow(self, data: bytes) -> None:
        """Append, copying the bytes."""
        if not isinstance(self.data, bytearray):
            self.data, self.skip = bytearray(self.view()), 0
        self.data += data
        self.length += len(data)

    def replace(self, offset: int, data: bytes) -> bool:
        """Overwrite in place; False when the buffer cannot be written or does not hold the range."""
        if not isinstance(self.data, bytearray) or offset < self.start or offset + len(data) > self.end:
            return False
        at = self.skip + offset - self.start
        self.data[at : at + len(data)] = data
        return True


class Ranges:
    """Disjoint pieces in order. Later writes win."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pieces: list[Piece] = []
        self.bytes = 0  # in all pieces together

    def __len__(self) -> int:
        """How many pieces there are."""
        return len(self._pieces)

    def __iter__(self) -> Iterator[Piece]:
        """The pieces, in the order of the file."""
        return iter(self._pieces)

    @property
    def end(self) -> int:
        """Where the last range ends; 0 when there is none."""
        return self._pieces[-1].end if self._pieces else 0

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes over whatever was there."""
        if not data or self._write_in_place(offset, data):
            return
        self.remove(offset, offset + len(data))
        self._insert(Piece(offset, data, 0, len(data)))

    def remove(self, start: int, end: int) -> None:
        """Forget the bytes of [start, end)."""
        first, last = self._touched(start, end)
        if first == last:
            return
        touched = self._pieces[first:last]
        kept: list[Piece] = []
        if touched[0].start < start:
            kept.append(touched[0].part(touched[0].start, start))
        if touched[-1].end > end:
            kept.append(touched[-1].part(end, touched[-1].end))
        self.bytes += sum(piece.length for piece in kept) - sum(piece.length for piece in touched)
        self._pieces[first:last] = kept
        self._starts[first:last] = [piece.start for piece in kept]

    def truncate(self, size: int) -> None:
        """Forget what lies behind `size`."""
        if self.end > size:
            self.remove(size, self.end)

    def clear(self) -> None:
        """Forget everything."""
        self._starts.clear()
        self._pieces.clear()
        self.bytes = 0

    def take(self, bytes_max: int, pieces_max: int, busy: "Sequence[Ranges]" = ()) -> list[Piece]:
        """Remove and return pieces from the front, up to the bounds; those that overlap `busy` stay."""
        taken: list[Piece] = []
        left: list[Piece] = []
        room = bytes_max
        for position, piece in enumerate(self._pieces):
            if room == 0 or len(taken) == pieces_max:
                left.extend(self._pieces[position:])
                break
            if any(other.overlaps(piece.start, piece.end) for other in busy):
                left.append(piece)
                continue
            if piece.length > room:
                left.append(piece.part(piece.start + room, piece.end))
                piece = piece.part(piece.start, piece.start + room)  # noqa: PLW2901  the part that fits is what we take
            taken.append(piece)
            room -= piece.length
        self._replace_all(left)
        return taken

    def add(self, pieces: Sequence[Piece]) -> None:
        """Put pieces where nothing is."""
        for piece in pieces:
            self._insert(piece)

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any byte of [start, end) is here."""
        first, last = self._touched(start, end)
        return first < last

    def covers(self, start: int, end: int) -> bool:
        """Whether every byte of [start, end) is here."""
        for piece in self._between(start, end):
            if piece.start > start:
                return False
            start = piece.end
        return start >= end

    def overlay(self, target: bytearray, offset: int) -> None:
        """Copy what is here over the bytes of `target`, which lies at `offset` of the file."""
        end = offset + len(target)
        for piece in self._between(offset, end):
            low, high = max(piece.start, offset), min(piece.end, end)
            at = piece.skip + low - piece.start
            target[low - offset : high - offset] = memoryview(piece.data)[at : at + high - low]

    def _between(self, start: int, end: int) -> list[Piece]:
        first, last = self._touched(start, end)
        return self._pieces[first:last]

    def _touched(self, start: int, end: int) -> tuple[int, int]:
        """The slice of pieces that share a byte with [start, end)."""
        if start >= end:
            return 0, 0
        first = bisect_right(self._starts, start)
        if first and self._pieces[first - 1].end > start:
            first -= 1
        return first, max(first, bisect_left(self._starts, end))

    def _write_in_place(self, offset: int, data: bytes) -> bool:
        """Grow the piece that ends here, or overwrite inside one; False if neither is possible."""
        position = bisect_right(self._starts, offset)
        if not position:
            return False
        before = self._pieces[position - 1]
        if before.end != offset:
            return before.replace(offset, data)
        end = offset + len(data)
        free = position == len(self._starts) or self._starts[position] >= end
        if not free or before.length + len(data) > GROWN_BYTES_MAX:
            return False
        before.grow(data)
        self.bytes += len(data)
        return True

    def _insert(self, piece: Piece) -> None:
        position = bisect_left(self._starts, piece.start)
        self._starts.insert(position, piece.start)
        self._pieces.insert(position, piece)
        self.bytes += piece.length

    def _replace_all(self, pieces: list[Piece]) -> None:
        self._pieces = pieces
        self._starts = [piece.start for piece in pieces]
        self.bytes = sum(piece.length for piece in pieces)
