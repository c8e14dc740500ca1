"""Blocks of files: never stale, never too many."""

from hypothesis import given
from hypothesis import strategies as st

from dwd.model.ids import InodeNumber, LogIndex
from dwfs.cache.blocks import BlockCache

ONE, TWO = InodeNumber(1), InodeNumber(2)


def test_block_is_found_while_the_inode_is_unchanged() -> None:
    """By inode, place and last change."""
    cache = BlockCache()
    cache.put(ONE, 0, LogIndex(5), b"a")
    assert cache.get(ONE, 0, LogIndex(5)) == b"a"
    assert cache.get(ONE, 1, LogIndex(5)) is None
    assert cache.get(TWO, 0, LogIndex(5)) is None


def test_changed_inode_has_no_blocks() -> None:
    """A block of before is dropped when it is asked for, also when an older state is asked for."""
    cache = BlockCache()
    cache.put(ONE, 0, LogIndex(5), b"aa")
    assert cache.get(ONE, 0, LogIndex(6)) is None
    assert cache.held_bytes == 0
    cache.put(ONE, 0, LogIndex(6), b"bb")
    assert cache.get(ONE, 0, LogIndex(5)) is None


def test_least_recently_used_goes_first() -> None:
    """Looking at a block keeps it."""
    cache = BlockCache(bytes_max=20)
    cache.put(ONE, 0, LogIndex(1), bytes(10))
    cache.put(ONE, 1, LogIndex(1), bytes(10))
    assert cache.get(ONE, 0, LogIndex(1)) is not None
    cache.put(ONE, 2, LogIndex(1), bytes(10))
    assert cache.get(ONE, 1, LogIndex(1)) is None
    assert cache.get(ONE, 0, LogIndex(1)) is not None


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(1, 3), st.integers(0, 30))))
def test_bytes_are_bounded_and_counted(puts: list[tuple[int, int, int, int]]) -> None:
    """Whatever is put, what is held is what is counted, and within the bound."""
    cache = BlockCache(bytes_max=64)
    for number, index, changed, length in puts:
        cache.put(InodeNumber(number), index, LogIndex(changed), bytes(length))
        assert cache.held_bytes <= 64
    held = 0
    for number in range(1, 4):
        for index in range(4):
            found = [cache.get(InodeNumber(number), index, LogIndex(c)) for c in (1, 2, 3)]
            held += sum(len(f) for f in found if f is not None)
    assert held <= 64
    cache.clear()
    assert cache.held_bytes == 0
