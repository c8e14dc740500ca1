"""Feeding the kernel: a file read at random is given whole; nothing that may have changed is ever given."""

import os
import random

import attrs
import trio
import trio.testing
from trio.testing import MockClock

from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode
from dwd.model.units import MIB
from dwd.namespace.commands import SetAttributes
from dwfs.cache.readaround import MISSES_LEAST, WINDOW_BYTES
from tests.unit.dwfs.engine.conftest import World

_SIZE = 3 * MIB + 4096
_PAGE = 4096


async def _stored(world: World) -> tuple[Inode, bytes]:
    """A file that is all stored, and open nowhere."""
    content = random.Random(1).randbytes(_SIZE)
    made, fh = await world.open(flags=os.O_RDWR)
    await world.files.write(fh, 0, content)
    await world.flusher.drain()
    world.files.release(fh)
    return made, content


async def _read_at_random(world: World, fh: int, reads: int = MISSES_LEAST) -> None:
    for number in range(reads):
        await world.read(fh, number * 128 * 1024, _PAGE)


async def _open(world: World, made: Inode, flags: int = os.O_RDONLY) -> int:
    return await world.files.open(made.number, flags, privileged=False)


async def test_a_file_that_is_read_at_random_is_given_whole(world: World, autojump_clock: MockClock) -> None:
    """In windows, once, byte for byte; a few reads, or reads of what is cached, give nothing."""
    made, content = await _stored(world)
    fh = await _open(world, made)
    await _read_at_random(world, fh, MISSES_LEAST - 1)
    await _read_at_random(world, fh, MISSES_LEAST - 1)
    await trio.testing.wait_all_tasks_blocked()
    assert world.fed == []
    await world.read(fh, _SIZE - _PAGE, _PAGE)
    await trio.testing.wait_all_tasks_blocked()
    assert [(number, offset) for number, offset, _ in world.fed] == [
        (made.number, offset) for offset in range(0, _SIZE, WINDOW_BYTES)
    ]
    assert b"".join(data for _, _, data in world.fed) == content
    assert world.feeder.fed_bytes == _SIZE


async def test_nothing_is_given_of_a_file_that_may_change(world: World, autojump_clock: MockClock) -> None:
    """Open for writing, dirty, on a shared volume, or closed: its reads go on as before."""
    made, _ = await _stored(world)
    fh = await _open(world, made)
    writer = await _open(world, made, os.O_RDWR)
    await _read_at_random(world, fh)
    await trio.testing.wait_all_tasks_blocked()
    assert world.fed == []
    world.files.release(writer)
    world.welcome(exclusive=False)
    await _read_at_random(world, fh)
    await trio.testing.wait_all_tasks_blocked()
    assert world.fed == []


@attrs.define
class _Slow:
    """A kernel that takes its time, and who waits for it."""

    begun: trio.Event = attrs.field(factory=trio.Event)
    go_on: trio.Event = attrs.field(factory=trio.Event)
    given: int = 0

    async def feed(self, _: InodeNumber, __: int, ___: bytes | memoryview) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.given += 1


async def _while_giving(world: World, monkey: _Slow) -> tuple[Inode, int]:
    world.feeder._feed_pages = monkey.feed
    made, _ = await _stored(world)
    fh = await _open(world, made)
    await _read_at_random(world, fh)
    await monkey.begun.wait()
    return made, fh


async def test_who_changes_a_file_waits_for_what_is_being_given(world: World, autojump_clock: MockClock) -> None:
    """Opening for writing and truncating return when the kernel has taken the window; none follows."""
    slow = _Slow()
    made, _ = await _while_giving(world, slow)
    order: list[str] = []

    async def open_for_writing() -> None:
        await _open(world, made, os.O_WRONLY)
        order.append("open")

    async def truncate() -> None:
        await world.namespace.set_attributes(SetAttributes(made.number, size=1))
        order.append("truncate")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_for_writing)
        nursery.start_soon(truncate)
        await trio.testing.wait_all_tasks_blocked()
        assert order == []
        slow.go_on.set()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(order) == ["open", "truncate"]
    assert slow.given == 1


async def test_a_recall_waits_for_what_is_being_given(world: World, autojump_clock: MockClock) -> None:
    """Else the kernel would be given pages after they were dropped."""
    slow = _Slow()
    made, _ = await _while_giving(world, slow)
    world.welcome(exclusive=False)
    await trio.sleep(60)
    assert world.dropped == []
    slow.go_on.set()
    await trio.sleep(1)
    assert world.dropped == [made.number]
    assert slow.given == 1
