"""RowCache: recency, absences, and the budget of bytes."""

from dwd.adapters.row_cache import RowCache


def test_the_budget_holds_and_the_row_used_least_recently_goes() -> None:
    """At the bound the oldest rows are shed, and a recalled one counts as new."""
    cache = RowCache(10 * (220 + 4 + 100))
    for number in range(10):
        cache.remember(b"%04d" % number, b"x" * 100)
    cache.recall(b"0000")
    cache.remember(b"more", b"x" * 100)
    assert b"0000" in cache
    assert b"0001" not in cache
    assert len(cache) == 10
    assert cache.bytes_used == 10 * (220 + 4 + 100)


def test_absences_are_rows_and_have_a_price() -> None:
    """A key known to be absent is remembered as None, and a million of them cannot fill the memory."""
    cache = RowCache(100_000)
    for number in range(10_000):
        cache.remember(b"%08d" % number, None)
    assert cache.recall(b"00009999") is None
    assert cache.bytes_used <= 100_000
    assert len(cache) == 100_000 // (220 + 8)


def test_discarding_gives_the_budget_back() -> None:
    """What is discarded is gone and paid back; discarding what is not there changes nothing."""
    cache = RowCache(100_000)
    cache.remember(b"a", b"1")
    cache.discard(b"a")
    cache.discard(b"b")
    assert b"a" not in cache
    assert cache.bytes_used == 0


def test_a_row_larger_than_the_budget_is_not_kept() -> None:
    """One huge value is shed at once, instead of staying over the bound."""
    cache = RowCache(1000)
    cache.remember(b"huge", b"x" * 2000)
    assert len(cache) == 0
    assert cache.bytes_used == 0
