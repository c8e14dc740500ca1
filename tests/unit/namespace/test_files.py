"""Bytes of files, held against a bytearray; and what becomes of segments, orphans and lost races."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.checks import InvariantViolated
from dwd.model.ids import ROOT, InodeNumber, SegmentId
from dwd.model.limits import FILE_BYTES_MAX
from dwd.namespace import keys
from dwd.namespace.commands import (
    FileData,
    ForgetSegments,
    Reap,
    Relocate,
    Relocation,
    SetAttributes,
    SetXattr,
    StoreData,
    Unlink,
)
from tests.unit.namespace.volume import DIRECTORY, LINK, Volume

SPAN = 60
PIECES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, SPAN), st.binary(min_size=1, max_size=20)), max_size=6)


@dataclass
class Truth:
    """What two files must read as."""

    content: tuple[bytearray, bytearray]
    filled: tuple[set[int], set[int]]

    def put(self, file: int, offset: int, data: bytes) -> None:
        """Write as a disk would."""
        content = self.content[file]
        content.extend(bytes(max(0, offset + len(data) - len(content))))
        content[offset : offset + len(data)] = data
        self.filled[file].update(range(offset, offset + len(data)))

    def cut(self, file: int, size: int) -> None:
        """Truncate, either way."""
        content = self.content[file]
        content.extend(bytes(max(0, size - len(content))))
        del content[size:]
        self.filled[file].difference_update(range(size, SPAN * 3))


def store(volume: Volume, files: tuple[InodeNumber, InodeNumber], inline: list, segment: list, truth: Truth) -> None:  # type: ignore[type-arg]
    """One StoreData with both kinds of pieces: inline ones are laid first, then ranges, in order, file by file."""
    payload, ranges = b"", []
    for file, offset, data in segment:
        ranges.append((file, offset, len(data), len(payload)))
        payload += data
    data = tuple(
        FileData(
            number,
            tuple((offset, length, at) for file, offset, length, at in ranges if file == which),
            tuple((offset, raw) for file, offset, raw in inline if file == which),
        )
        for which, number in enumerate(files)
    )
    volume.do(StoreData(volume.segment(payload) if payload else None, data))
    for file, offset, raw in (*inline, *segment):
        truth.put(file, offset, raw)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), PIECES, PIECES),
        st.tuples(st.just("cut"), st.integers(0, 1), st.integers(0, SPAN)),
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(STEPS)
def test_files_read_as_a_bytearray_does(steps: list) -> None:  # type: ignore[type-arg]
    """Holes, overlaps (within a command too), inline and segment mixed, truncates: same bytes, size and allocation."""
    volume = Volume()
    files = (volume.make(b"a").number, volume.make(b"b").number)
    truth = Truth((bytearray(), bytearray()), (set(), set()))
    for kind, first, second in steps:
        if kind == "store":
            store(volume, files, first, second, truth)
        else:
            volume.do(SetAttributes(files[first], size=second))
            truth.cut(first, second)
        volume.check()
        for which, number in enumerate(files):
            inode = volume.inode(number)
            assert volume.read(number) == bytes(truth.content[which])
            assert (inode.size, inode.allocated) == (len(truth.content[which]), len(truth.filled[which]))


def test_live_counts(volume: Volume) -> None:
    """A segment counts the bytes that are still pointed at; at none it is garbage, and then forgotten."""
    file = volume.make(b"f").number
    volume.write(file, 0, b"a" * 100)
    first = SegmentId(next(iter(volume.written)))
    volume.write(file, 20, b"b" * 30)
    found = volume.state.find_segment(first)
    assert found is not None
    assert found.live == 70
    assert volume.state.volume.stored_bytes == 100
    volume.do(SetAttributes(file, size=0))
    assert volume.state.find_segment(first) is None
    assert volume.state.names_segment(first)
    assert {s.id for s in volume.state.segments(b"G")} == set(volume.written)
    volume.do(ForgetSegments(tuple(volume.written)))
    assert not volume.state.names_segment(first)


def test_range_that_covers_another_of_its_command(volume: Volume) -> None:
    """The later of two overlapping ranges wins, and only what is seen of the first counts as living."""
    file = volume.make(b"f").number
    segment = volume.segment(b"aaaabbbb")
    volume.do(StoreData(segment, (FileData(file, ((0, 4, 0), (0, 4, 4))),)))
    found = volume.state.find_segment(segment.id)
    assert found is not None
    assert (volume.read(file), found.live) == (b"bbbb", 4)


def test_empty_inline_piece_harms_nothing(volume: Volume) -> None:
    """An inline piece of no bytes does not stand in the place of the extent that begins there."""
    file = volume.make(b"f").number
    volume.write(file, 0, b"abc")
    volume.do(StoreData(None, (FileData(file, (), ((0, b""), (1, b""))),)))
    assert volume.read(file) == b"abc"


def test_files_that_are_gone(volume: Volume) -> None:
    """Bytes of a file that is gone, or is none, are passed over; a segment of nothing else is garbage at once."""
    directory, link = volume.make(b"d", DIRECTORY).number, volume.make(b"l", LINK).number
    segment = volume.segment(b"abc")
    files = tuple(FileData(n, ((0, 3, 0),), (), 5, 5) for n in (InodeNumber(99), directory, link))
    assert volume.do(StoreData(segment, files)).inodes == ()
    assert [s.id for s in volume.state.segments(b"G")] == [segment.id]
    assert volume.inode(directory).mtime != 5


def test_times_come_late(volume: Volume) -> None:
    """A store brings mtime and atime; ctime never goes back for it."""
    file = volume.make(b"f")
    volume.do(StoreData(None, (FileData(file.number, mtime=5, atime=6),)))
    inode = volume.inode(file.number)
    assert (inode.mtime, inode.atime, inode.ctime) == (5, 6, file.ctime)
    later = file.ctime + 10_000_000
    volume.do(StoreData(None, (FileData(file.number, mtime=later),)))
    assert volume.inode(file.number).ctime == later


def test_longest_file(volume: Volume) -> None:
    """A file may end at FILE_BYTES_MAX; a command that goes beyond was let through by a bug (invariant N5)."""
    file = volume.make(b"f").number
    volume.write(file, FILE_BYTES_MAX - 3, b"abc")
    volume.write(file, FILE_BYTES_MAX - 1, b"d", inline=True)
    assert volume.inode(file).size == FILE_BYTES_MAX
    assert volume.read(file, FILE_BYTES_MAX - 4) == b"\0abd"
    volume.do(SetAttributes(file, size=1))
    with pytest.raises(InvariantViolated, match="N5"):
        Volume.write(volume_with_file(), InodeNumber(2), FILE_BYTES_MAX, b"a", inline=True)


def volume_with_file() -> Volume:
    """A volume of its own, to be broken; its file is inode 2."""
    made = Volume()
    made.make(b"f")
    return made


def test_more_living_bytes_than_there_are() -> None:
    """Two ranges that share bytes of the segment would count them twice: a bug of the daemon's (invariant N3)."""
    volume = volume_with_file()
    with pytest.raises(InvariantViolated, match="N3"):
        volume.do(StoreData(volume.segment(b"abc"), (FileData(InodeNumber(2), ((0, 3, 0), (3, 3, 0))),)))


def test_extent_without_its_segment() -> None:
    """Freeing bytes of a segment that has no record stops the process (invariant N4)."""
    volume = volume_with_file()
    volume.write(InodeNumber(2), 0, b"abc")
    volume.store.delete(keys.segment(SegmentId(next(iter(volume.written)))))
    with pytest.raises(InvariantViolated, match="N4"):
        volume.do(SetAttributes(InodeNumber(2), size=0))


def test_truncate_in_pages(volume: Volume) -> None:
    """A cut works through more extents than are read at a time."""
    file = volume.make(b"f").number
    payload = bytes(range(1, 251)) * 10
    segment = volume.segment(payload)
    volume.do(StoreData(segment, (FileData(file, tuple((2 * i, 1, i) for i in range(len(payload)))),)))
    volume.do(SetAttributes(file, size=101))
    assert volume.inode(file).allocated == 51
    assert volume.read(file)[::2] == payload[:51]


def test_relocate(volume: Volume) -> None:
    """Extents move to their copies, inline or not, and the bytes read the same."""
    file = volume.make(b"f").number
    volume.write(file, 0, b"abc")
    volume.write(file, 5, b"xyz", inline=True)
    moves = tuple(
        Relocation(file, offset, extent.length, extent.changed, at)
        for at, (offset, extent) in zip((0, 3), volume.state.extents(file, 0, 100), strict=True)
    )
    new = volume.segment(b"abcxyz")
    assert volume.do(Relocate(new, moves)).value == 2
    assert volume.read(file) == b"abc\0\0xyz"
    found = volume.state.find_segment(new.id)
    assert found is not None
    assert (found.live, volume.state.volume.inline_bytes, volume.inode(file).allocated) == (6, 0, 6)


def test_relocate_that_lost_a_race(volume: Volume) -> None:
    """An extent that was overwritten, cut, moved or removed since the plan keeps what it has; one twice moves once."""
    file = volume.make(b"f").number
    for offset in (0, 10, 20, 30):
        volume.write(file, offset, b"abcde")
    plan = [
        Relocation(file, offset, extent.length, extent.changed, 5 * i)
        for i, (offset, extent) in enumerate(volume.state.extents(file, 0, 100))
    ]
    volume.write(file, 0, b"ABCDE")
    volume.write(file, 12, b"!", inline=True)
    volume.do(SetAttributes(file, size=30))
    before = volume.read(file)
    new = volume.segment(b"abcde" * 4)
    assert volume.do(Relocate(new, (*plan, plan[2], Relocation(InodeNumber(77), 0, 5, 1, 0)))).value == 1
    assert volume.read(file) == before
    found = volume.state.find_segment(new.id)
    assert found is not None
    assert found.live == 5


def test_relocate_all_in_vain(volume: Volume) -> None:
    """A new segment that nothing was moved to is garbage."""
    new = volume.segment(b"abc")
    assert volume.do(Relocate(new, (Relocation(InodeNumber(9), 0, 3, 1, 0),))).value == 0
    assert [s.id for s in volume.state.segments(b"G")] == [new.id]


def test_reap(volume: Volume) -> None:
    """Reaping an orphan removes all its rows and frees its bytes; what is no orphan is left alone."""
    file, kept = volume.make(b"f").number, volume.make(b"g").number
    volume.write(file, 0, b"abc")
    volume.write(file, 9, b"xyz", inline=True)
    volume.do(SetXattr(file, b"user.a", b"b"))
    volume.do(Unlink(ROOT, b"f"))
    assert volume.do(Reap((file, kept, InodeNumber(77)))).value == 0
    assert volume.state.find_inode(file) is None
    assert volume.inode(kept).links == 1
    for letter in (b"X", b"E"):
        assert not list(volume.store.range(*keys.rows_of(letter, file)))
    assert (volume.state.volume.inodes, volume.state.volume.stored_bytes, volume.state.volume.inline_bytes) == (2, 0, 0)
    assert len(list(volume.state.segments(b"G"))) == 1


def test_reap_in_turns(volume: Volume) -> None:
    """An orphan with many extents is reaped by several commands, and every count is true between them."""
    file, small = volume.make(b"f").number, volume.make(b"g").number
    for part in range(3):
        ranges = tuple((2 * (part * 4000 + i), 1, i) for i in range(4000))
        volume.do(StoreData(volume.segment(b"x" * 4000), (FileData(file, ranges),)))
    volume.do(Unlink(ROOT, b"f"))
    volume.do(Unlink(ROOT, b"g"))
    turns = 0
    while volume.do(Reap((file, small))).value:
        turns += 1
        volume.check()
        assert turns < 10
    assert turns == 2
    assert volume.state.find_inode(small) is None
    assert volume.state.volume.stored_bytes == 0
