"""The budget of background work, on a clock that jumps."""

import pytest
import trio

from dwd.model.units import MIB
from dwd.services.pacing import Budget, Pacer


class Foreground:
    """A counter of what files were read and written by."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self) -> int:
        return self.bytes


async def _seconds_for(pacer: Pacer, megabytes: int, operations: int = 1) -> float:
    """How long it takes until so much was allowed, a megabyte at a time, the last one's cost included."""
    await pacer.spend(0, 0)  # a first look at the foreground takes a moment
    started = trio.current_time()
    for _ in range(megabytes):
        await pacer.spend(MIB, operations)
    await pacer.spend(0, 0)
    return trio.current_time() - started


async def test_nothing_holds_it_while_nobody_reads_or_writes(autojump_clock: trio.testing.MockClock) -> None:
    """An idle volume heals as fast as it can."""
    assert await _seconds_for(Pacer(Budget(), Foreground()), 1000) == 0


async def test_the_ceiling_of_bytes_holds(autojump_clock: trio.testing.MockClock) -> None:
    """A rate that the operator gave is never passed."""
    assert await _seconds_for(Pacer(Budget(bytes_per_s=10 * MIB), Foreground()), 50) == pytest.approx(5)


async def test_the_ceiling_of_operations_holds(autojump_clock: trio.testing.MockClock) -> None:
    """Many small shards cost seeks: they are counted too."""
    pacer = Pacer(Budget(bytes_per_s=1000 * MIB, operations_per_s=50), Foreground())
    assert await _seconds_for(pacer, 20, 5) == pytest.approx(2)


async def _seconds_beside(pacer: Pacer, foreground: Foreground, speed: int, megabytes: int) -> float:
    """The same while the foreground moves `speed` bytes each second."""
    await pacer.spend(0, 0)  # the first look

    async def stream() -> None:
        while True:
            await trio.sleep(0.1)
            foreground.bytes += speed // 10

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream)
        await trio.sleep(1.05)
        seconds = await _seconds_for(pacer, megabytes)
        nursery.cancel_scope.cancel()
    return seconds


async def test_it_yields_to_the_foreground(autojump_clock: trio.testing.MockClock) -> None:
    """Beside a stream it takes an eighth of the stream's speed."""
    foreground = Foreground()
    seconds = await _seconds_beside(Pacer(Budget(), foreground), foreground, 200 * MIB, 400)
    assert 400 / seconds == pytest.approx(25, rel=0.1)


async def test_a_busy_volume_heals_all_the_same(autojump_clock: trio.testing.MockClock) -> None:
    """Beside a slow stream there is a least that it takes."""
    foreground = Foreground()
    seconds = await _seconds_beside(Pacer(Budget(), foreground), foreground, 10 * MIB, 80)
    assert 80 / seconds == pytest.approx(8, rel=0.1)


async def test_what_it_takes_beside_a_fast_stream_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """Files that are read from memory are no measure of what disks and processors can spare."""
    foreground = Foreground()
    seconds = await _seconds_beside(Pacer(Budget(), foreground), foreground, 2000 * MIB, 400)
    assert 400 / seconds == pytest.approx(40, rel=0.1)


async def test_a_deadline_goes_before_the_foreground(autojump_clock: trio.testing.MockClock) -> None:
    """What is needed to be done in time is taken, but never more than the ceiling."""
    foreground = Foreground()
    pacer = Pacer(Budget(bytes_per_s=120 * MIB), foreground)
    pacer.least_bytes_per_s = 100 * MIB
    assert 400 / await _seconds_beside(pacer, foreground, 100 * MIB, 400) == pytest.approx(100, rel=0.1)
    pacer.least_bytes_per_s = 500 * MIB
    assert 400 / await _seconds_beside(pacer, foreground, 100 * MIB, 400) == pytest.approx(120, rel=0.1)


async def test_it_looks_before_it_begins(autojump_clock: trio.testing.MockClock) -> None:
    """After a pause the very first megabytes yield already to a stream that began meanwhile."""
    foreground = Foreground()
    pacer = Pacer(Budget(), foreground)
    await pacer.spend(MIB, 1)
    await trio.sleep(100)
    async with trio.open_nursery() as nursery:

        async def stream() -> None:
            while True:
                foreground.bytes += MIB
                await trio.sleep(0.01)

        nursery.start_soon(stream)
        seconds = await _seconds_for(pacer, 10)
        nursery.cancel_scope.cancel()
    assert 10 / seconds == pytest.approx(12.5, rel=0.2)


async def test_its_own_bytes_are_no_foreground(autojump_clock: trio.testing.MockClock) -> None:
    """What background work reads through the same counters does not slow itself down."""
    foreground = Foreground()
    pacer = Pacer(Budget(), foreground)
    await pacer.spend(0, 0)
    for _ in range(20):
        await trio.sleep(0.1)
        foreground.bytes += 100 * MIB
        pacer.excuse(100 * MIB)
    assert await _seconds_for(pacer, 1000) == 0


async def test_it_goes_on_at_full_speed_once_the_stream_ended(autojump_clock: trio.testing.MockClock) -> None:
    """A pause between two files is no end; a second of quiet is."""
    foreground = Foreground()
    pacer = Pacer(Budget(), foreground)
    assert await _seconds_beside(pacer, foreground, 100 * MIB, 20) > 0.5
    for _ in range(6):
        await trio.sleep(0.3)
        await pacer.spend(0, 0)
    assert await _seconds_for(pacer, 1000) == 0
    assert pacer.status().bytes_per_s is None


async def test_a_stream_that_begins_is_noticed_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """What works at full speed yields within two glances: a short read must not be over before it is noticed."""
    foreground = Foreground()
    pacer = Pacer(Budget(), foreground)
    for _ in range(100):
        await pacer.spend(MIB, 1)
        await trio.sleep(0.005)
    assert pacer.is_unbounded
    for _ in range(20):
        foreground.bytes += MIB
        await pacer.spend(0, 1)
        await trio.sleep(0.005)
    assert not pacer.is_unbounded
    assert (pacer.status().bytes_per_s or 0) < 41 * MIB


async def test_idle_is_believed_after_a_second(autojump_clock: trio.testing.MockClock) -> None:
    """A pause between two files is no end of the work that goes before."""
    foreground = Foreground()
    pacer = Pacer(Budget(), foreground)
    await pacer.spend(0, 0)
    foreground.bytes += 100 * MIB
    await trio.sleep(0.1)
    for _ in range(8):
        await pacer.spend(0, 1)
        assert not pacer.is_unbounded
        await trio.sleep(0.1)
    await trio.sleep(0.4)
    await pacer.spend(0, 1)
    assert pacer.is_unbounded
