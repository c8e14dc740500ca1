"""The bytes of a WAL file: a header page, then framed records.

Rules: a record belongs to exactly one file (its checksums are seeded with the file's number) and to one place in
the order (its sequence number). A sync is followed by a new page, so zeros up to a page boundary are padding.
A record says which records were durable before it was written: that, and what an interrupted write can leave
behind, tell a torn tail (never acknowledged, may be cut) from damage (may have been acknowledged, never cut).
"""

from enum import Enum
from struct import Struct
from typing import Final

import attrs
from xxhash import xxh3_64_intdigest

from dwd.model.errors import CorruptWal, FormatTooNew, VolumeMismatch
from dwd.model.ids import VolumeId
from dwd.model.limits import WAL_RECORD_BYTES_MAX
from dwd.model.units import KIB, round_up

PAGE_BYTES: Final = 4 * KIB  # what a device may rewrite as one; acknowledged pages are never written again
VERSION: Final = 1

_ALIGNMENT: Final = 8
_SECTOR_BYTES: Final = 512  # what a device writes whole or not at all

# magic, version, (zero), volume, file number, first sequence; then xxh3 of these
_FILE_FIELDS: Final = Struct("<8sII16sQQ")
_FILE_MAGIC: Final = b"DWWALF\r\n"
# magic, payload length, kind, flags, (zero), sequence, durable sequence, xxh3 of the payload; then xxh3 of these
_RECORD_FIELDS: Final = Struct("<8sIBBHQQQ")
_RECORD_MAGIC: Final = b"\xd7WALrec\n"
_DIGEST: Final = Struct("<Q")
RECORD_HEADER_BYTES: Final = _RECORD_FIELDS.size + _DIGEST.size

_KIND_PAYLOAD: Final = 1
_PADDING: Final = tuple(b"\xa5" * (_ALIGNMENT - length % _ALIGNMENT) for length in range(_ALIGNMENT))


@attrs.frozen
class FileHeader:
    """Whose log a file is part of, and where in it."""

    volume: VolumeId
    number: int  # 1-based, without gaps
    first_sequence: int  # of the first record that is or will be in the file


class Tail(Enum):
    """What stands behind the last good record of a file."""

    CLEAN = "clean"  # zeros
    TORN = "torn"  # the remains of writes that were never acknowledged, or rubbish where nothing was written
    DAMAGED = "damaged"  # a record that may have been acknowledged


@attrs.frozen
class Scan:
    """What a WAL file holds."""

    spans: tuple[tuple[int, int], ...]  # offset and length of each payload, in order of sequence
    next_sequence: int
    end: int  # where the last good record ends
    tail: Tail
    bad_offset: int  # where the record stands that could not be read; `end` if there is none


@attrs.frozen
class _RecordHeader:
    length: int
    sequence: int
    durable: int
    payload_digest: int


def framed_length(payload_length: int) -> int:
    """Bytes that a record takes: header, payload, and one to eight bytes that end it with a byte that is not zero."""
    return RECORD_HEADER_BYTES + round_up(payload_length + 1, _ALIGNMENT)


def encode_file_header(header: FileHeader) -> bytes:
    """The first page of a file."""
    fields = _FILE_FIELDS.pack(_FILE_MAGIC, VERSION, 0, header.volume, header.number, header.first_sequence)
    return (fields + _DIGEST.pack(xxh3_64_intdigest(fields))).ljust(PAGE_BYTES, b"\0")


def decode_file_header(data: bytes, volume: VolumeId, name: str) -> FileHeader:
    """Read a file's first page; `name` is the file's, for messages.

    Raises:
        CorruptWal: it is damaged. (A file gets its name after its header is durable: it cannot be torn.)
        FormatTooNew: a newer version wrote it.
        VolumeMismatch: it is another volume's.
    """
    fields, stored = data[: _FILE_FIELDS.size], data[_FILE_FIELDS.size : _FILE_FIELDS.size + _DIGEST.size]
    if len(data) < PAGE_BYTES or _DIGEST.pack(xxh3_64_intdigest(fields)) != stored:
        raise CorruptWal(f"{name}: the file header at byte 0 is damaged; restore the file from a mirror or a backup")
    magic, version, _, owner, number, first_sequence = _FILE_FIELDS.unpack(fields)
    if magic != _FILE_MAGIC:
        raise CorruptWal(f"{name}: byte 0: not a WAL file")
    if version > VERSION:
        raise FormatTooNew(f"{name} has WAL format {version}, this dwd knows {VERSION}: run a newer dwd")
    if owner != volume:
        raise VolumeMismatch(f"{name} belongs to volume {owner.hex()}, not to {volume.hex()}")
    return FileHeader(VolumeId(owner), number, first_sequence)


def encode_record(payload: bytes, sequence: int, durable: int, number: int) -> bytes:
    """Frame a payload as record `sequence` of file `number`, when all records up to `durable` are durable."""
    length = len(payload)
    digest = xxh3_64_intdigest(payload, number)
    fields = _RECORD_FIELDS.pack(_RECORD_MAGIC, length, _KIND_PAYLOAD, 0, 0, sequence, durable, digest)
    return b"".join((fields, _DIGEST.pack(xxh3_64_intdigest(fields, number)), payload, _PADDING[length % _ALIGNMENT]))


def scan(data: bytes, first_sequence: int, number: int) -> Scan:
    """Find the records of file `number`, of which `data` is the whole content, and judge what follows them."""
    view = memoryview(data)
    spans: list[tuple[int, int]] = []
    sequence, at = first_sequence, PAGE_BYTES
    while (found := _next_record(data, view, at, sequence, number)) is not None:
        offset, header = found
        spans.append((offset + RECORD_HEADER_BYTES, header.length))
        sequence, at = sequence + 1, offset + framed_length(header.length)
    tail, bad = _judge_tail(data, at, sequence, number)
    return Scan(tuple(spans), sequence, at, tail, bad)


def _next_record(
    data: bytes, view: memoryview, at: int, sequence: int, number: int
) -> tuple[int, _RecordHeader] | None:
    """The record with this sequence number, at `at` or behind padding at the next page."""
    for offset in (at, round_up(at, PAGE_BYTES)):
        header = _read_header(data, offset, number)
        if header is None or header.sequence != sequence:
            continue
        start = offset + RECORD_HEADER_BYTES
        payload = view[start : start + header.length]
        if len(payload) == header.length and xxh3_64_intdigest(payload, number) == header.payload_digest:
            return offset, header
        return None
    return None


def _read_header(data: bytes, offset: int, number: int) -> _RecordHeader | None:
    """The record header at an offset if it is whole and of this file."""
    if not data.startswith(_RECORD_MAGIC, offset) or offset + RECORD_HEADER_BYTES > len(data):
        return None
    fields = data[offset : offset + _RECORD_FIELDS.size]
    (stored,) = _DIGEST.unpack_from(data, offset + _RECORD_FIELDS.size)
    if xxh3_64_intdigest(fields, number) != stored:
        return None
    _, length, kind, flags, _, sequence, durable, payload_digest = _RECORD_FIELDS.unpack(fields)
    if kind != _KIND_PAYLOAD or flags != 0 or length > WAL_RECORD_BYTES_MAX:
        return None
    return _RecordHeader(length, sequence, durable, payload_digest)


def _judge_tail(data: bytes, end: int, expected: int, number: int) -> tuple[Tail, int]:
    """Say what stands behind `end`, where record `expected` should be, and where it is."""
    if not data[end:].strip(b"\0"):
        return Tail.CLEAN, end
    at = _where_it_would_be(data, end)
    acknowledged = later = False
    for header in _later_headers(data, end, number):
        if header.sequence >= expected:
            later = True
            acknowledged |= header.durable >= expected
    rubbish = not later and not _resembles_record(data, at)
    if not acknowledged and (rubbish or _looks_interrupted(data, at, number)):
        return Tail.TORN, at
    return Tail.DAMAGED, at


def _where_it_would_be(data: bytes, end: int) -> int:
    """The offset of the bad record: the next page if a sync went before it, as a record's remains there show."""
    boundary = round_up(end, PAGE_BYTES)
    padded = not any(data[end:boundary])
    return boundary if padded and _resembles_record(data, boundary) else end


def _later_headers(data: bytes, end: int, number: int) -> list[_RecordHeader]:
    """The whole record headers of this file anywhere behind `end`."""
    found: list[_RecordHeader] = []
    at = data.find(_RECORD_MAGIC, end)
    while at >= 0:
        header = _read_header(data, at, number) if at % _ALIGNMENT == 0 else None
        if header is not None:
            found.append(header)
        at = data.find(_RECORD_MAGIC, at + 1)
    return found


def _resembles_record(data: bytes, at: int) -> bool:
    """Whether a record was begun here: most of its magic is there."""
    there = data[at : at + len(_RECORD_MAGIC)]
    return sum(a == b for a, b in zip(there, _RECORD_MAGIC, strict=False)) > len(_RECORD_MAGIC) // 2


def _looks_interrupted(data: bytes, at: int, number: int) -> bool:
    """Whether a write that a crash cut short explains the bad record at `at`.

    Space is zero before it is written, and sectors are written whole: such a record ends in zeros, or misses
    a whole sector, or the file ends. A record with none of these was written whole and altered later.
    """
    header = _read_header(data, at, number)
    if header is None:
        body = at + RECORD_HEADER_BYTES
        return _misses_sector(data, at, body) or not any(data[body : body + _ALIGNMENT])
    end = at + framed_length(header.length)
    return end > len(data) or data[end - 1] == 0 or _misses_sector(data, at, end)


def _misses_sector(data: bytes, start: int, end: int) -> bool:
    """Whether the part of [start, end) in some sector is all zeros, or behind the end of the file."""
    while start < end:
        stop = min(end, start + _SECTOR_BYTES - start % _SECTOR_BYTES)
        if not any(data[start:stop]):
            return True
        start = stop
    return False
