"""The nouns: ids that join and part, units, modes, and the spelling of protections."""

import errno
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwd.model.errors import BadConfig, DwError, NamespaceRefusal, Refusal
from dwd.model.ids import Epoch, InodeNumber, LogIndex, SegmentId, inode_number, segment_epoch, segment_id
from dwd.model.inode import Inode, without_privileges
from dwd.model.limits import BLOCK_BYTES, SEGMENT_BYTES_MAX, SHARDS_MAX
from dwd.model.protection import Protection, parse_protection
from dwd.model.segment import Extent
from dwd.model.units import div_ceil, round_up

COUNTS = st.integers(0, 1 << 50)


@given(st.integers(1, (1 << 24) - 1), st.integers(0, (1 << 40) - 1))
def test_segment_ids(epoch: int, counter: int) -> None:
    """A segment's id tells the daemon's start, and ids of a later start are greater."""
    made = segment_id(Epoch(epoch), counter)
    assert segment_epoch(made) == epoch
    assert made < segment_id(Epoch(epoch + 1), 0)


@given(st.integers(0, (1 << 16) - 1), st.integers(0, (1 << 47) - 1))
def test_inode_numbers(bucket: int, counter: int) -> None:
    """A bucket and a counter make one number of 63 bits; no two make the same."""
    number = inode_number(bucket, counter)
    assert (number >> 47, number & ((1 << 47) - 1)) == (bucket, counter)
    assert number < 1 << 63


@given(COUNTS, st.integers(1, 1 << 20))
def test_units(value: int, unit: int) -> None:
    """Rounding up is the least multiple that is not below."""
    assert value <= round_up(value, unit) < value + unit
    assert round_up(value, unit) % unit == 0
    assert div_ceil(value, unit) == round_up(value, unit) // unit


@given(st.integers(1, SHARDS_MAX), st.integers(0, SHARDS_MAX), st.integers(1, SEGMENT_BYTES_MAX))
def test_protection(k: int, m: int, length: int) -> None:
    """Every name is read back; k shards hold a segment with less than a block's padding each."""
    protection = Protection(k, m)
    if protection.width <= SHARDS_MAX:
        assert parse_protection(protection.name) == protection
        assert parse_protection(f" reedsolomon({k}+{m}) ") == protection
    shard = protection.shard_length(length)
    assert length <= k * shard < length + k * (64 + 1)
    assert shard <= SEGMENT_BYTES_MAX
    assert div_ceil(shard, BLOCK_BYTES) <= 256


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("None", (1, 0)),
        ("REPLICA2", (1, 1)),
        ("Replica3", (1, 2)),
        ("Replica6", (1, 5)),
        ("raid6", (4, 2)),
        ("RAIDZ3", (5, 3)),
        ("4+2", (4, 2)),
        ("ReedSolomon(16+4)", (16, 4)),
        ("31+1", (31, 1)),
    ],
)
def test_spellings(text: str, wanted: tuple[int, int]) -> None:
    """What people write."""
    assert parse_protection(text) == Protection(*wanted)


@pytest.mark.parametrize(
    "text",
    ["", "0+1", "32+1", "4", "4+", "+2", "4-2", "ReedSolomon(4+2", "4+2)", "Replica0", "Replica33", "٤+٢", "100+1"],
)
def test_what_is_no_protection(text: str) -> None:
    """Anything else is refused, and the message has what was written."""
    with pytest.raises(BadConfig, match="protection"):
        parse_protection(text)


@pytest.mark.parametrize(
    ("mode", "left"),
    [(0o6755, 0o755), (0o2745, 0o2745), (0o4644, 0o644), (0o1777, 0o1777), (0o2010, 0o010)],
)
def test_privileges(mode: int, left: int) -> None:
    """Setuid goes; setgid goes where the group may execute, for elsewhere it is not a privilege."""
    assert without_privileges(stat.S_IFREG | mode) == stat.S_IFREG | left


def test_inode_shows_itself() -> None:
    """Kind, and blocks of 512 bytes rounded up."""
    inode = Inode(LogIndex(1), InodeNumber(2), stat.S_IFREG | 0o644, 1, 0, 0, 0, 0, 0, allocated=513)
    assert (inode.is_regular, inode.is_directory, inode.is_symlink, inode.stat_blocks) == (True, False, False, 2)
    assert inode.with_permissions(0o170000 | 0o4700) == stat.S_IFREG | 0o4700


def test_parts_of_extents() -> None:
    """A part of an extent has its bytes, inline or in the segment."""
    assert Extent(LogIndex(1), 6, data=b"abcdef").part(2, 3) == Extent(LogIndex(1), 3, data=b"cde")
    assert Extent(LogIndex(1), 6, SegmentId(5), 10).part(2, 3) == Extent(LogIndex(1), 3, SegmentId(5), 12)


def test_refusals_speak() -> None:
    """A refusal names its errno; codes are public, and every class has its own."""
    assert str(NamespaceRefusal(errno.ENOENT, "x")) == "ENOENT x"
    assert str(NamespaceRefusal(9999)) == "9999"
    kinds, found = [DwError], []
    while kinds:
        kind = kinds.pop()
        found.append(kind.code)
        kinds += [k for k in kind.__subclasses__() if k.__module__ == "dwd.model.errors"]
    assert len(found) == len(set(found))
    assert issubclass(NamespaceRefusal, Refusal)
