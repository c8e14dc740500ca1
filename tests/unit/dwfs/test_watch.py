"""Looking at both descriptors: what comes is found, and nothing is waited for that cannot come soon."""

import socket
import threading
import time
from collections.abc import Iterator

import attrs
import pytest

from dwfs.cache.spinning import MISSES_MAX, SpinPolicy
from dwfs.watch import Ready, Watch

_NOTHING = Ready(kernel=False, daemon=False)
_LONG_S = 0.5  # what a wait must never take, however slow this machine is


@attrs.frozen
class Ends:
    """A watch, and the other ends of what it looks at."""

    watch: Watch
    kernel: socket.socket
    daemon: socket.socket


@pytest.fixture(name="ends")
def watched() -> Iterator[Ends]:
    """Two pairs of sockets."""
    kernel, kernel_end = socket.socketpair()
    daemon, daemon_end = socket.socketpair()
    with kernel, kernel_end, daemon, daemon_end:
        watch = Watch()
        watch.set_kernel(kernel.fileno())
        watch.set_daemon(daemon.fileno())
        yield Ends(watch, kernel_end, daemon_end)


def test_each_is_told_apart(ends: Ends) -> None:
    """Nothing, one, or both."""
    assert ends.watch.look() == _NOTHING
    ends.kernel.send(b"x")
    assert ends.watch.look() == Ready(kernel=True, daemon=False)
    ends.daemon.send(b"x")
    assert ends.watch.look() == Ready(kernel=True, daemon=True)


def test_a_connection_that_is_gone_is_not_looked_at(ends: Ends) -> None:
    """Nor is the next one, until it is there."""
    ends.daemon.send(b"x")
    ends.watch.set_daemon(None)
    assert ends.watch.look() == _NOTHING
    ends.watch.set_daemon(None)
    again, other = socket.socketpair()
    with again, other:
        ends.watch.set_daemon(again.fileno())
        other.send(b"x")
        assert ends.watch.look() == Ready(kernel=False, daemon=True)
        ends.watch.set_daemon(None)


def test_the_end_of_a_connection_is_something_to_read(ends: Ends) -> None:
    """Else whoever waits for an answer would spin for nothing."""
    ends.daemon.close()
    assert ends.watch.wait(SpinPolicy()) == Ready(kernel=False, daemon=True)


def test_what_comes_during_the_wait_is_found(ends: Ends) -> None:
    """At once, and it counts as a hit."""
    policy = SpinPolicy(misses=1)
    for _ in range(100):  # of a wait of milliseconds, on a machine that has other things to do
        sender = threading.Timer(0.0005, ends.kernel.send, [b"x"])
        sender.start()
        found = ends.watch.wait(policy)
        sender.join()
        if found.kernel:
            assert policy.misses == 0
            return
        policy.misses = 1
        ends.watch.look(1000)
    pytest.fail("it was never found")


def test_a_wait_for_nothing_is_short_and_a_miss(ends: Ends) -> None:
    """And after some misses there is no wait at all."""
    policy = SpinPolicy()
    begun = time.perf_counter()
    for misses in range(MISSES_MAX):
        assert policy.misses == misses
        assert ends.watch.wait(policy) == _NOTHING
    assert time.perf_counter() - begun < _LONG_S
    ends.kernel.send(b"x")
    assert ends.watch.wait(policy) == _NOTHING
