"""The interval map against a bytearray."""

from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.units import KIB
from dwfs.cache.ranges import GROWN_BYTES_MAX, Ranges

_SIZE = 400
_OFFSETS = st.integers(0, _SIZE - 1)
_BYTES = st.binary(min_size=1, max_size=90)
_NO_BYTES = st.just(b"")


class Step(NamedTuple):
    """One thing that is done to the ranges; what it does not need is ignored."""

    kind: str
    first: int
    second: int
    data: bytes


_STEPS = st.one_of(
    st.builds(Step, st.just("write"), _OFFSETS, st.just(0), _BYTES),
    st.builds(Step, st.just("write"), _OFFSETS, st.just(0), _BYTES),
    st.builds(Step, st.just("remove"), _OFFSETS, st.integers(0, 120), _NO_BYTES),
    st.builds(Step, st.just("truncate"), _OFFSETS, st.just(0), _NO_BYTES),
    st.builds(Step, st.just("take"), st.integers(0, 120), st.integers(1, 4), _NO_BYTES),
)


class Oracle:
    """Bytes, and which of them are there."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def step(self, ranges: Ranges, step: Step) -> None:
        if step.kind == "write":
            ranges.write(step.first, step.data)
            self.bytes.update(enumerate(step.data, step.first))
        elif step.kind == "remove":
            ranges.remove(step.first, step.first + step.second)
            self._drop(step.first, step.first + step.second)
        elif step.kind == "truncate":
            ranges.truncate(step.first)
            self._drop(step.first, 10 * _SIZE)
        else:
            self._take(ranges, step)

    def _take(self, ranges: Ranges, step: Step) -> None:
        taken = ranges.take(step.first, step.second)
        assert len(taken) <= step.second
        assert sum(piece.length for piece in taken) <= step.first
        for piece in taken:
            assert dict(enumerate(piece.view(), piece.start)).items() <= self.bytes.items()
            self._drop(piece.start, piece.end)

    def _drop(self, start: int, end: int) -> None:
        self.bytes = {at: byte for at, byte in self.bytes.items() if not start <= at < end}

    def check(self, ranges: Ranges) -> None:
        pieces = list(ranges)
        assert all(a.end <= b.start for a, b in pairwise(pieces))
        assert {p.start + at: byte for p in pieces for at, byte in enumerate(p.view())} == self.bytes
        assert ranges.bytes == len(self.bytes)
        assert ranges.end == max(self.bytes, default=-1) + 1


@settings(max_examples=150)
@given(st.lists(_STEPS, max_size=25), _OFFSETS, st.integers(0, 100))
def test_ranges_hold_what_was_written_last(steps: list[Step], offset: int, length: int) -> None:
    """Whatever is written, cut and taken, each byte is the one written last, and is there once."""
    ranges, oracle = Ranges(), Oracle()
    for step in steps:
        oracle.step(ranges, step)
        oracle.check(ranges)
    target = bytearray(b"\xee" * length)
    ranges.overlay(target, offset)
    assert list(target) == [oracle.bytes.get(offset + at, 0xEE) for at in range(length)]
    asked = range(offset, offset + length)
    assert ranges.covers(offset, offset + length) == all(at in oracle.bytes for at in asked)
    assert ranges.overlaps(offset, offset + length) == any(at in oracle.bytes for at in asked)


def test_taken_bytes_do_not_change() -> None:
    """What is being sent stays as it was, whatever is written afterwards."""
    ranges = Ranges()
    for at in range(8):
        ranges.write(at * 4, b"abcd")
    first, *_ = taken = ranges.take(10, 100)
    views = [piece.view() for piece in taken]
    ranges.write(0, b"X" * 8)
    ranges.write(32, b"efgh")
    ranges.write(10, b"Y" * 4)
    assert b"".join(views) == b"abcdabcdab"
    assert first.start == 0


def test_small_writes_in_a_row_are_one_piece() -> None:
    """A file written byte by byte costs no object a byte, and a piece stays within its bound."""
    ranges = Ranges()
    for at in range(1000):
        ranges.write(at, b"x")
    assert len(ranges) == 1
    for at in range(0, 3 * GROWN_BYTES_MAX, 4 * KIB):
        ranges.write(at, b"y" * 4 * KIB)
    assert len(ranges) == 3


def test_large_writes_are_not_copied() -> None:
    """A large buffer is kept as it came, also when a little of it is overwritten."""
    ranges = Ranges()
    data = bytes(256 * KIB)
    ranges.write(0, data)
    ranges.write(128 * KIB, b"x")
    assert next(iter(ranges)).data is data


def test_a_small_rest_of_a_large_buffer_frees_it() -> None:
    """A few bytes that are left of a large buffer do not keep all of it in memory."""
    ranges = Ranges()
    ranges.write(0, bytes(256 * KIB))
    ranges.write(10, bytes(256 * KIB))
    assert len(next(iter(ranges)).data) == 10


def test_pieces_that_overlap_what_is_busy_stay() -> None:
    """A range that overlaps one in flight is not taken."""
    ranges, busy = Ranges(), Ranges()
    ranges.write(0, b"aaaa")
    ranges.write(10, b"bbbb")
    busy.write(12, b"c")
    assert [piece.start for piece in ranges.take(100, 100, [busy])] == [0]
    assert [piece.start for piece in ranges] == [10]
