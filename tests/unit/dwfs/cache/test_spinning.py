"""When looking again at once is thought worth it."""

from dwfs.cache.spinning import BURST_LEAST, GAP_S_MAX, MISSES_MAX, SpinPolicy


def _given_up() -> SpinPolicy:
    policy = SpinPolicy()
    for _ in range(MISSES_MAX):
        assert policy.spins
        policy.missed()
    return policy


def test_misses_in_a_row_end_it() -> None:
    """A program that thinks between its calls is not worth a core."""
    assert not _given_up().spins


def test_a_hit_forgives_the_misses_before_it() -> None:
    """They count in a row only."""
    policy = SpinPolicy()
    for number in range(10 * MISSES_MAX):
        policy.missed() if number % MISSES_MAX else policy.hit(float(number))
    assert policy.spins


def test_requests_close_together_begin_it_again() -> None:
    """As many as make a burst, and no sooner."""
    policy = _given_up()
    policy.parked(0.0)
    for number in range(1, BURST_LEAST + 1):
        assert not policy.spins
        policy.parked(number * GAP_S_MAX / 2)
    assert policy.spins


def test_requests_far_apart_do_not() -> None:
    """However many they are, and also when some of them come in pairs."""
    policy = _given_up()
    for number in range(100):
        policy.parked(number * 1.0)
        policy.parked(number * 1.0 + GAP_S_MAX / 2)
    assert not policy.spins
