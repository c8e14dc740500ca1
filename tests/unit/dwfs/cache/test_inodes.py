"""The inode cache."""

from dwd.model.ids import InodeNumber, LogIndex
from dwd.model.inode import Inode
from dwfs.cache.inodes import InodeCache


def inode(number: int, changed: int) -> Inode:
    """An inode as of a log index."""
    return Inode(LogIndex(changed), InodeNumber(number), 0o100644, 1, 0, 0, atime=0, mtime=0, ctime=0)


def test_the_newer_answer_wins_in_any_order() -> None:
    """An answer that was overtaken by another changes nothing."""
    cache = InodeCache()
    cache.put_all([inode(1, 7), inode(1, 5)])
    found = cache.get(InodeNumber(1))
    assert found is not None
    assert found.changed == 7


def test_the_least_recently_used_goes() -> None:
    """The cache is bounded, and what was looked at stays."""
    cache = InodeCache(inodes_max=2)
    cache.put_all([inode(1, 1), inode(2, 1)])
    cache.get(InodeNumber(1))
    cache.put(inode(3, 1))
    assert [cache.get(InodeNumber(number)) is not None for number in (1, 2, 3)] == [True, False, True]
