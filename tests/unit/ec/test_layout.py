import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.ec.layout import ShardRange, shard_ranges
from dwd.model.checks import InvariantViolated
from dwd.model.ids import ShardIndex


def test_small_read_touches_one_shard() -> None:
    """A range inside one shard is one piece."""
    assert shard_ranges(130, 10, 64) == [ShardRange(ShardIndex(2), 2, 10)]


def test_range_over_a_border_is_two_pieces() -> None:
    """A range is cut where a shard ends, in the order of the segment."""
    assert shard_ranges(60, 8, 64) == [ShardRange(ShardIndex(0), 60, 4), ShardRange(ShardIndex(1), 0, 4)]


def test_nothing_is_nowhere() -> None:
    """An empty range has no pieces, of an empty segment too."""
    assert shard_ranges(0, 0, 0) == []


def test_negative_range_stops() -> None:
    """A range before the segment is a bug (E6)."""
    with pytest.raises(InvariantViolated, match="E6"):
        shard_ranges(-1, 2, 64)


@settings(derandomize=True, deadline=None)
@given(shard_length=st.integers(1, 100), k=st.integers(1, 8), data=st.data())
def test_pieces_joined_are_the_range(shard_length: int, k: int, data: st.DataObject) -> None:
    """What the pieces hold, joined, is the range of the segment; no piece is empty or leaves its shard."""
    segment = list(range(k * shard_length))
    start = data.draw(st.integers(0, len(segment)))
    end = data.draw(st.integers(start, len(segment)))
    pieces = shard_ranges(start, end - start, shard_length)
    assert all(piece.length > 0 and piece.offset + piece.length <= shard_length for piece in pieces)
    begins = [piece.index * shard_length + piece.offset for piece in pieces]
    joined = [
        byte for begin, piece in zip(begins, pieces, strict=True) for byte in segment[begin : begin + piece.length]
    ]
    assert joined == segment[start:end]
