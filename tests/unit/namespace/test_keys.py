"""The layout of keys: pinned bytes, and order that is meaning."""

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dwd.model.ids import BrickId, InodeNumber, RequestNumber, SegmentId, SessionId
from dwd.namespace import keys

NUMBER = 0x0102030405060708
RAW = bytes(range(1, 9))
NUMBERS = st.integers(0, (1 << 63) - 1)


def test_layout_is_pinned() -> None:
    """docs/FORMATS.md has the same bytes: they never change."""
    inode, segment, session = InodeNumber(NUMBER), SegmentId(NUMBER), SessionId(b"s" * 16)
    assert keys.VOLUME == b"V"
    assert keys.inode(inode) == b"I" + RAW
    assert keys.entry(inode, 0x0A, b"\xffn") == b"D" + RAW + b"\0\0\0\0\0\0\0\x0a\xffn"
    assert keys.xattr(inode, b"user.a") == b"X" + RAW + b"user.a"
    assert keys.extent(inode, 256) == b"E" + RAW + b"\0\0\0\0\0\0\1\0"
    assert keys.inline(inode) == b"B" + RAW
    assert keys.segment(segment) == b"S" + RAW
    assert keys.garbage(segment) == b"G" + RAW
    assert keys.orphan(inode) == b"O" + RAW
    assert keys.SCRUB == b"C"
    assert keys.policy(inode) == b"P" + RAW
    assert keys.conversion(inode) == b"J" + RAW
    assert keys.brick(BrickId(NUMBER)) == b"K" + RAW
    assert keys.session(session) == b"M" + b"s" * 16
    assert keys.outcome(session, RequestNumber(258)) == b"Q" + b"s" * 16 + b"\0\0\0\0\0\0\1\2"


def test_hash_is_pinned() -> None:
    """The hash is the low 55 bits of a seeded XXH3-64."""
    assert keys.name_hash(b"name", 7) == xxhash.xxh3_64_intdigest(b"name", 7) % (1 << 55)
    assert keys.name_hash(b"name", 7) == 0x45D2433B902E34


@given(NUMBERS, NUMBERS, st.binary(max_size=20))
def test_what_went_in_comes_out(number: int, offset: int, name: bytes) -> None:
    """Numbers, offsets, hashes and names are read back from keys."""
    inode, hashed = InodeNumber(number), offset >> 8
    assert keys.number_of(keys.inode(inode)) == number
    assert keys.extent_offset(keys.extent(inode, offset)) == offset
    assert keys.entry_name(keys.entry(inode, hashed, name)) == name
    assert keys.entry_hash(keys.entry(inode, hashed, name)) == hashed
    assert keys.xattr_name(keys.xattr(inode, name)) == name


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_order_is_meaning(one: int, first: int, two: int, second: int) -> None:
    """Keys of a table sort as their numbers do, and an inode's rows lie between its bounds."""
    left, right = keys.extent(InodeNumber(one), first), keys.extent(InodeNumber(two), second)
    assert (left < right) == ((one, first) < (two, second))
    start, end = keys.rows_of(b"E", two)
    assert (start <= left < end) == (one == two)
    start, end = keys.table(b"E")
    assert start <= left < end
