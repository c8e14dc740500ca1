"""What has been written to this mount and is not stored yet, over all files, and how it is sent.

Each file has ranges that wait and flights that are under way. A read sees the base, then what is in
flight, then what waits; a flight's bytes stay readable until it has landed. Two flights of one file
never overlap, so the order in which they land does not matter. plan() packs ranges of many files,
in the order in which they became dirty, into flights of at most one segment; bytes of one flight have one protection.

Bound: BYTES_MAX, what waits and what flies together; a writer who would exceed it waits (engine.flusher).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode
from dwd.model.limits import INLINE_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_RANGES_MAX
from dwd.model.protection import Protection
from dwd.model.units import KIB, MIB
from dwd.namespace.commands import FileData
from dwfs.cache.ranges import Piece, Ranges

BYTES_MAX: Final = 64 * MIB
_PIECE_OVERHEAD_BYTES: Final = 256  # what a piece and its places in the lists weigh: tiny writes are bounded too
_FILE_OVERHEAD_BYTES: Final = 1 * KIB  # and what a file's own objects do
_JOINED_BYTES_MAX: Final = 64 * KIB  # smaller pieces are copied together: a gathering write takes 1,024 buffers


@attrs.define(eq=False)
class Cargo:
    """The part of a flight that belongs to one file."""

    file: "DirtyFile"
    ranges: Ranges
    mtime: int | None
    atime: int | None


@attrs.define(eq=False)
class Flight:
    """One Store that is under way; `weight` is what it counts against BYTES_MAX."""

    cargo: list[Cargo]
    bytes: int
    weight: int
    landed: bool = False


@attrs.define(eq=False)
class DirtyFile:
    """What one file has that is not stored. `since` is when its bytes became dirty; None when only times are late."""

    number: InodeNumber
    waiting: Ranges = attrs.field(factory=Ranges)
    flights: list[Flight] = attrs.field(factory=list)
    flying: list[Ranges] = attrs.field(factory=list)
    since: float | None = None
    mtime: int | None = None  # newer than what the daemon knows, or on its way there
    atime: int | None = None
    mtime_waits: bool = False  # the next flight carries it
    atime_waits: bool = False
    held: int = 0  # an fsync sends this file itself
    protection: Protection | None = None  # as the daemon last told it: a segment holds bytes of one protection

    @property
    def end(self) -> int:
        """Where its last unstored byte ends."""
        return max([self.waiting.end, *(ranges.end for ranges in self.flying)])

    @property
    def bytes(self) -> int:
        """How many bytes are not stored."""
        return self.waiting.bytes + sum(ranges.bytes for ranges in self.flying)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to send or to wait for."""
        return not (self.flights or len(self.waiting) or self.mtime_waits or self.atime_waits)

    @property
    def waiting_weight(self) -> int:
        """What its ranges that wait count against BYTES_MAX."""
        return self.waiting.bytes + _PIECE_OVERHEAD_BYTES * len(self.waiting)

    def covers(self, start: int, end: int) -> bool:
        """Whether a read of [start, end) needs nothing from the daemon."""
        return self.waiting.covers(start, end) or any(ranges.covers(start, end) for ranges in self.flying)

    def overlay(self, target: bytearray, offset: int) -> None:
        """Put the unstored bytes over those of `target`, which lies at `offset`."""
        for ranges in self.flying:
            ranges.overlay(target, offset)
        self.waiting.overlay(target, offset)


class Dirty:
    """All files with something unsent, in the order in which they became dirty."""

    def __init__(self) -> None:
        self._files: dict[InodeNumber, DirtyFile] = {}
        self.waiting_bytes = 0
        self._flying_bytes = 0
        self.weight = 0  # against BYTES_MAX
        self.landings = 0  # rises when something readable here moves to the daemon

    def __iter__(self) -> Iterator[DirtyFile]:
        """The files."""
        return iter(self._files.values())

    def __len__(self) -> int:
        """How many files have something unsent."""
        return len(self._files)

    @property
    def unstored_bytes(self) -> int:
        """Bytes that wait or fly."""
        return self.waiting_bytes + self._flying_bytes

    def get(self, number: InodeNumber) -> DirtyFile | None:
        """A file's unsent things, if it has any."""
        return self._files.get(number)

    def oldest(self) -> float | None:
        """When the first of the bytes that wait became dirty."""
        times = (file.since for file in self._files.values() if not file.held)
        return min((since for since in times if since is not None), default=None)

    def write(
        self,
        number: InodeNumber,
        offset: int,
        data: bytes,
        *,
        now: float,
        mtime: int,
        protection: Protection | None = None,
    ) -> None:
        """Bytes were written; `now` is trio's clock, whose zero is anywhere; the rest is the file's."""
        file = self._file(number)
        before, weight = file.waiting.bytes, file.waiting_weight
        file.waiting.write(offset, data)
        self.waiting_bytes += file.waiting.bytes - before
        self.weight += file.waiting_weight - weight
        if file.since is None:
            file.since = now
        file.mtime, file.mtime_waits = mtime, True
        file.protection = protection

    def touch(self, number: InodeNumber, *, atime: int | None = None, mtime: int | None = None) -> None:
        """A time that may be sent late."""
        file = self._file(number)
        if atime is not None:
            file.atime, file.atime_waits = atime, True
        if mtime is not None:
            file.mtime, file.mtime_waits = mtime, True

    def settle_times(self, number: InodeNumber, *, atime: bool, mtime: bool) -> None:
        """The caller sets these times explicitly: late ones are void. No flight may carry them now."""
        file = self._files.get(number)
        if file is None:
            return
        if atime:
            file.atime, file.atime_waits = None, False
        if mtime:
            file.mtime, file.mtime_waits = None, False
        self._drop_if_idle(file)

    def truncate(self, number: InodeNumber, size: int) -> None:
        """What waits behind `size` is void."""
        file = self._files.get(number)
        if file is None:
            return
        before, weight = file.waiting.bytes, file.waiting_weight
        file.waiting.truncate(size)
        self.waiting_bytes += file.waiting.bytes - before
        self.weight += file.waiting_weight - weight
        if not len(file.waiting):
            file.since = None
        self._drop_if_idle(file)

    def forget(self, number: InodeNumber) -> None:
        """The file is gone: nothing of it need be sent. What flies lands by itself."""
        file = self._files.get(number)
        if file is None:
            return
        self.truncate(number, 0)
        file.mtime_waits = file.atime_waits = False
        self._drop_if_idle(file)

    def hold(self, number: InodeNumber) -> DirtyFile | None:
        """Keep a file out of plan(): the caller sends it, and lets go with let_go()."""
        file = self._files.get(number)
        if file is not None:
            file.held += 1
        return file

    def let_go(self, file: DirtyFile) -> None:
        """End a hold()."""
        file.held -= 1
        self._drop_if_idle(file)

    def plan(self) -> Flight | None:
        """Pack one flight of all files that nobody holds; None when nothing can go now."""
        return self._pack(file for file in self._files.values() if not file.held)

    def plan_file(self, file: DirtyFile) -> Flight | None:
        """Pack one flight of this file."""
        return self._pack([file])

    def _pack(self, files: Iterable[DirtyFile]) -> Flight | None:
        cargo: list[Cargo] = []
        lead: DirtyFile | None = None  # the first with bytes: the others with bytes must be stored as it is
        room, places = SEGMENT_BYTES_MAX, SEGMENT_RANGES_MAX
        for file in files:
            if room <= 0 or places <= 0:
                break
            if lead is not None and len(file.waiting) and file.protection != lead.protection:
                continue
            load = self._load(file, room, places)
            if load is not None:
                cargo.append(load)
                lead = file if lead is None and len(load.ranges) else lead
                room -= load.ranges.bytes
                places -= max(1, len(load.ranges))
        return self._take_off(cargo) if cargo else None

    def land(self, flight: Flight, inodes: Sequence[Inode]) -> None:
        """The daemon has a flight's bytes (or they were given up); `inodes` are the files as it has them now."""
        flight.landed = True
        self.landings += 1
        self.weight -= flight.weight
        self._flying_bytes -= flight.bytes
        committed = {inode.number: inode for inode in inodes}
        for cargo in flight.cargo:
            file = cargo.file
            file.flights.remove(flight)
            file.flying.remove(cargo.ranges)
            self._check_times(file, committed.get(file.number))
            self._drop_if_idle(file)

    def _load(self, file: DirtyFile, room: int, places: int) -> Cargo | None:
        weight = file.waiting_weight
        pieces = file.waiting.take(room, places, file.flying)
        self.weight += file.waiting_weight - weight
        mtime = file.mtime if file.mtime_waits else None
        atime = file.atime if file.atime_waits else None
        if not pieces and (len(file.waiting) or (mtime is None and atime is None)):
            return None  # its ranges wait for a flight that they overlap; its times go with them
        file.mtime_waits = file.atime_waits = False
        if not len(file.waiting):
            file.since = None
        ranges = Ranges()
        ranges.add(pieces)
        return Cargo(file, ranges, mtime, atime)

    def _take_off(self, cargo: list[Cargo]) -> Flight:
        size = sum(load.ranges.bytes for load in cargo)
        flight = Flight(cargo, size, size + _PIECE_OVERHEAD_BYTES * sum(len(load.ranges) for load in cargo))
        for load in cargo:
            load.file.flights.append(flight)
            load.file.flying.append(load.ranges)
        self.waiting_bytes -= size
        self._flying_bytes += size
        self.weight += flight.weight
        return flight

    def _check_times(self, file: DirtyFile, committed: Inode | None) -> None:
        """Flights may land in any order: a time that an earlier one has overwritten goes again."""
        if file.flights:
            return
        if committed is not None and file.mtime is not None and not file.mtime_waits and committed.mtime < file.mtime:
            file.mtime_waits = True
        if not file.mtime_waits:
            file.mtime = None
        if not file.atime_waits:
            file.atime = None

    def _file(self, number: InodeNumber) -> DirtyFile:
        file = self._files.get(number)
        if file is None:
            file = self._files[number] = DirtyFile(number)
            self.weight += _FILE_OVERHEAD_BYTES
        return file

    def _drop_if_idle(self, file: DirtyFile) -> None:
        if file.idle and not file.held and self._files.get(file.number) is file:
            del self._files[file.number]
            self.weight -= _FILE_OVERHEAD_BYTES


def shipment(flight: Flight) -> tuple[tuple[FileData, ...], list[bytes | memoryview]]:
    """What a flight's Store says, and its payload: little rides inline (D2), the rest is one segment."""
    if flight.bytes <= INLINE_BYTES_MAX:
        return tuple(_inline(cargo) for cargo in flight.cargo), []
    files: list[FileData] = []
    at = 0
    for cargo in flight.cargo:
        files.append(FileData(cargo.file.number, tuple(_placed(cargo.ranges, at)), (), cargo.mtime, cargo.atime))
        at += cargo.ranges.bytes
    return tuple(files), _gather(piece for cargo in flight.cargo for piece in cargo.ranges)


def _inline(cargo: Cargo) -> FileData:
    runs = tuple((run[0].start, b"".join(piece.view() for piece in run)) for run in _runs(cargo.ranges))
    return FileData(cargo.file.number, (), runs, cargo.mtime, cargo.atime)


def _placed(ranges: Ranges, at: int) -> Iterator[tuple[int, int, int]]:
    for run in _runs(ranges):
        length = run[-1].end - run[0].start
        yield run[0].start, length, at
        at += length


def _runs(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Pieces that follow each other without a gap: one extent each."""
    run: list[Piece] = []
    for piece in pieces:
        if run and run[-1].end != piece.start:
            yield run
            run = []
        run.append(piece)
    if run:
        yield run


def _gather(pieces: Iterable[Piece]) -> list[bytes | memoryview]:
    """Buffers to send: large ones as they are, small neighbours joined."""
    buffers: list[bytes | memoryview] = []
    small: list[memoryview] = []
    size = 0
    for piece in pieces:
        if piece.length >= _JOINED_BYTES_MAX:
            buffers.extend([b"".join(small)] if small else [])
            buffers.append(piece.view())
            small, size = [], 0
            continue
        small.append(piece.view())
        size += piece.length
        if size >= _JOINED_BYTES_MAX:
            buffers.append(b"".join(small))
            small, size = [], 0
    buffers.extend([b"".join(small)] if small else [])
    return buffers
