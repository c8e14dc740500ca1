"""Waiting for the kernel's requests: none is read that another has taken, and nothing else starves meanwhile."""

import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import attrs
import pyfuse3
import pytest
import trio

from dwfs import polling
from dwfs.cache.spinning import MISSES_MAX, SpinPolicy
from dwfs.polling import RUN_S_MAX, RequestWait
from dwfs.watch import Watch

_STREAM_S = 0.2


@attrs.define
class Kernel:
    """A pipe in place of /dev/fuse, and pyfuse3's own wait as a script of answers."""

    reading: int
    writing: int
    watch: Watch = attrs.field(factory=Watch)
    answers: list[bool] = attrs.field(factory=list)
    parked: int = 0

    async def park(self) -> bool:
        await trio.lowlevel.checkpoint()
        self.parked += 1
        return self.answers.pop(0)

    def request(self) -> None:
        os.write(self.writing, b"x")

    def waiting(self, policy: SpinPolicy | None = None) -> RequestWait:
        return RequestWait(self.park, self.watch, policy or SpinPolicy())


@pytest.fixture(name="kernel")
def make_kernel() -> Iterator[Kernel]:
    """With no request in it."""
    reading, writing = os.pipe()
    made = Kernel(reading, writing)
    made.watch.set_kernel(reading)
    yield made
    os.close(reading)
    os.close(writing)


async def test_a_request_that_is_there_is_taken_without_parking(kernel: Kernel) -> None:
    """That is what all this is for."""
    waiting = kernel.waiting()
    kernel.request()
    for _ in range(10):
        assert await waiting.wait()
    assert kernel.parked == 0


async def test_without_a_request_it_parks_and_ends_when_pyfuse3_ends(kernel: Kernel) -> None:
    """False means that the loop is over."""
    kernel.answers = [False]
    assert not await kernel.waiting().wait()
    assert kernel.parked == 1


async def test_a_request_that_another_task_has_taken_is_not_read(kernel: Kernel) -> None:
    """Woken, it looks before it says so: reading what is not there would block the process."""
    kernel.answers = [True, True, False]
    assert not await kernel.waiting().wait()
    assert kernel.parked == 3


async def test_the_daemon_comes_first(kernel: Kernel) -> None:
    """When its socket has something as well, other tasks get their turn before the next request."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        kernel.watch.set_daemon(ours.fileno())
        theirs.send(b"x")
        kernel.request()
        kernel.answers = [True]
        assert await kernel.waiting().wait()
        assert kernel.parked == 1
        kernel.watch.set_daemon(None)


async def test_a_policy_that_does_not_spin_parks_at_once(kernel: Kernel) -> None:
    """An idle mount costs nothing."""
    kernel.request()
    kernel.answers = [True]
    assert await kernel.waiting(SpinPolicy(misses=MISSES_MAX)).wait()
    assert kernel.parked == 1


async def _timer(gaps: list[float]) -> None:
    """A task that wants to run each millisecond; time is that of this process, for others run here too."""
    last = time.process_time()
    while True:
        await trio.sleep(0.001)
        now = time.process_time()
        gaps.append(now - last)
        last = now


async def _echo(gaps: list[float]) -> None:
    one, other = trio.socket.socketpair()
    with one, other:
        while True:
            begun = time.process_time()
            await one.send(b"x")
            await other.recv(1)
            gaps.append(time.process_time() - begun)


@pytest.mark.parametrize(("other_task", "turns"), [(_timer, 2), (_echo, 4)], ids=["timer", "echo"])
async def test_nothing_starves_while_requests_stream(
    other_task: Callable[[list[float]], Awaitable[None]], turns: int, kernel: Kernel
) -> None:
    """The next request is always there already: still each turn of another task comes within RUN_S_MAX.

    A timer takes two (its time comes, it runs), an echo over a socket twice as many.
    """
    kernel.request()
    gaps: list[float] = []
    waiting = kernel.waiting()
    requests = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other_task, gaps)
        end = time.process_time() + _STREAM_S
        while time.process_time() < end:
            assert await waiting.wait()
            requests += 1
        nursery.cancel_scope.cancel()
    assert kernel.parked == 0
    assert requests > 1000
    assert len(gaps) > 10
    assert max(gaps) < (turns + 1) * RUN_S_MAX


def test_a_pyfuse3_without_the_name_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mount then works as pyfuse3 made it."""
    monkeypatch.delattr(pyfuse3, "_wait_fuse_readable")
    assert not polling.install(Watch())
    assert not hasattr(pyfuse3, "_wait_fuse_readable")


def test_without_a_session_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor with two: which one is ours could not be told."""
    theirs = pyfuse3._wait_fuse_readable  # type: ignore[attr-defined]  # not public: that is the point
    assert not polling.install(Watch())
    assert pyfuse3._wait_fuse_readable is theirs  # type: ignore[attr-defined]
