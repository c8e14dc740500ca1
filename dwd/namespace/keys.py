"""The layout of the store's keys. The first byte names the table; numbers are big-endian, so that order is meaning.

docs/FORMATS.md has the same table; a key's shape never changes.
"""

import struct
from typing import Final

import xxhash

from dwd.model.ids import BrickId, InodeNumber, RequestNumber, SegmentId, SessionId

VOLUME: Final = b"V"
SCRUB: Final = b"C"
COOKIE_ORDINAL_BITS: Final = 7  # a cookie tells 128 names of one directory with one hash apart
COOKIE_FIRST: Final = 3  # 0 is the start; 1 and 2 are left to the mount for . and ..
_HASH_BITS: Final = 55
_HASH_MASK: Final = (1 << _HASH_BITS) - 1

_number = struct.Struct(">cQ").pack
_pair = struct.Struct(">cQQ").pack


def inode(number: InodeNumber) -> bytes:
    """Table I: inodes."""
    return _number(b"I", number)


def name_hash(name: bytes, seed: int) -> int:
    """55 bits that order a directory; seeded by the volume, so that nobody can choose colliding names."""
    return xxhash.xxh3_64_intdigest(name, seed) & _HASH_MASK


def entry(parent: InodeNumber, hashed: int, name: bytes) -> bytes:
    """Table D: directory entries, in hash order, so that a cookie stays right while names come and go."""
    return _pair(b"D", parent, hashed) + name


def entries_from(parent: InodeNumber, hashed: int) -> bytes:
    """The least key of a directory's entries whose hash is not below `hashed`."""
    return _pair(b"D", parent, hashed)


def entry_name(key: bytes) -> bytes:
    """The name in a key of table D."""
    return key[17:]


def entry_hash(key: bytes) -> int:
    """The hash in a key of table D."""
    return int.from_bytes(key[9:17], "big")


def xattr(number: InodeNumber, name: bytes) -> bytes:
    """Table X: extended attributes."""
    return _number(b"X", number) + name


def xattr_name(key: bytes) -> bytes:
    """The name in a key of table X."""
    return key[9:]


def extent(number: InodeNumber, offset: int) -> bytes:
    """Table E: extents, by file and offset."""
    return _pair(b"E", number, offset)


def extent_offset(key: bytes) -> int:
    """The file offset in a key of table E."""
    return int.from_bytes(key[9:17], "big")


def inline(number: InodeNumber) -> bytes:
    """Table B: files with inline bytes, for the mover."""
    return _number(b"B", number)


def segment(number: SegmentId) -> bytes:
    """Table S: segments that extents point into."""
    return _number(b"S", number)


def contents(number: SegmentId) -> bytes:
    """Table T: what was packed into a segment."""
    return _number(b"T", number)


def garbage(number: SegmentId) -> bytes:
    """Table G: segments that nothing points into, whose shards are to be removed."""
    return _number(b"G", number)


def orphan(number: InodeNumber) -> bytes:
    """Table O: inodes without a name, kept for those who hold them open."""
    return _number(b"O", number)


def policy(number: InodeNumber) -> bytes:
    """Table P: what was set on a directory or file itself."""
    return _number(b"P", number)


def brick(number: BrickId) -> bytes:
    """Table K: bricks."""
    return _number(b"K", number)


def conversion(number: InodeNumber) -> bytes:
    """Table J: conversions under way, by the directory or file at their top."""
    return _number(b"J", number)


def session(number: SessionId) -> bytes:
    """Table M: sessions of mounts."""
    return b"M" + number


def outcome(number: SessionId, request: RequestNumber) -> bytes:
    """Table Q: what a session's recent requests came to, for retries."""
    return b"Q" + number + request.to_bytes(8, "big")


def number_of(key: bytes) -> int:
    """The number in a key of tables I, D, E, B, S, G, O and P."""
    return int.from_bytes(key[1:9], "big")


def table(letter: bytes) -> tuple[bytes, bytes]:
    """Start and end of a whole table."""
    return letter, bytes([letter[0] + 1])


def rows_of(letter: bytes, number: int) -> tuple[bytes, bytes]:
    """Start and end of the rows of one inode in tables D, X and E."""
    return _number(letter, number), _number(letter, number + 1)
