"""The small policies: how long to cache, which name led where, when an access time changes."""

import pytest

from dwd.model.ids import InodeNumber
from dwd.model.units import NS_PER_S
from dwfs.cache.coherence import CACHE_LIFETIME_S, Coherence
from dwfs.cache.names import NameCache
from dwfs.cache.times import atime_is_due

_DAY = 24 * 3600 * NS_PER_S


def test_only_an_exclusive_mount_lets_the_kernel_cache() -> None:
    """Before the first Welcome and after a recall the lifetime is 0."""
    coherence = Coherence()
    assert coherence.lifetime(1.0) == 0
    coherence.welcome(exclusive=True)
    assert coherence.lifetime(2.0) == CACHE_LIFETIME_S
    coherence.recall()
    assert coherence.lifetime(3.0) == 0


def test_a_recall_knows_when_the_last_copy_has_run_out() -> None:
    """What was handed out last counts, and nothing that was handed out since with no lifetime."""
    coherence = Coherence()
    coherence.welcome(exclusive=True)
    coherence.lifetime(10.0)
    coherence.lifetime(20.0)
    coherence.recall()
    coherence.lifetime(30.0)
    assert coherence.expires() == 20.0 + CACHE_LIFETIME_S


def test_names_are_bounded_and_may_be_dropped() -> None:
    """The oldest name goes first; a dropped one is unknown."""
    names = NameCache(names_max=2)
    parent = InodeNumber(1)
    for number, name in enumerate([b"a", b"b", b"c"], start=2):
        names.put(parent, name, InodeNumber(number))
    names.drop(parent, b"b")
    assert [names.get(parent, name) for name in (b"a", b"b", b"c")] == [None, None, 4]


@pytest.mark.parametrize(
    ("atime", "mtime", "ctime", "now", "due"),
    [(5, 5, 1, 6, True), (5, 1, 5, 6, True), (5, 1, 1, 6, False), (5, 1, 1, 5 + _DAY, True)],
)
def test_relatime(atime: int, mtime: int, ctime: int, now: int, due: bool) -> None:
    """The access time changes at the first read after a change, and once a day."""
    assert atime_is_due(atime, mtime, ctime, now) is due
