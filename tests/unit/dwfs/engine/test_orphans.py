"""Files without a name: alive while somebody holds them, released when nobody does, once and in batches."""

import trio
from trio.testing import MockClock

from dwd.model.errors import Unreachable
from dwd.model.ids import ROOT
from dwd.wire.messages import Release
from tests.unit.dwfs.engine.conftest import World


async def test_an_open_file_outlives_its_name(world: World, autojump_clock: MockClock) -> None:
    """It is read and written until it is closed; then its dirty bytes are dropped, and it is released."""
    made, fh = await world.open()
    await world.files.write(fh, 0, b"content")
    await world.namespace.unlink(ROOT, b"file")
    await world.files.write(fh, 7, b"!")
    assert await world.read(fh) == b"content!"
    world.orphans.forgotten([(made.number, 1)])
    await trio.sleep(1)
    assert world.client.asked_for(Release) == 0
    world.files.release(fh)
    await trio.sleep(1)
    assert world.client.asked_for(Release) == 1
    assert world.client.volume.state.find_inode(made.number) is None
    assert len(world.dirty) == 0


async def test_the_kernel_may_hold_it_too(world: World, autojump_clock: MockClock) -> None:
    """A file that is not open, but not forgotten, is kept: its number must not mean another file."""
    made = await world.make()
    await world.namespace.lookup(ROOT, b"file")
    await world.namespace.unlink(ROOT, b"file")
    world.orphans.forgotten([(made.number, 1)])
    await trio.sleep(1)
    assert world.client.asked_for(Release) == 0
    assert world.listener.holding() == (made.number,)
    world.orphans.forgotten([(made.number, 1)])
    await trio.sleep(1)
    assert world.client.asked_for(Release) == 1


async def test_dirty_bytes_of_a_file_that_nobody_has_open_are_never_sent(
    world: World, autojump_clock: MockClock
) -> None:
    """A temporary file that is removed in time costs no store."""
    _, fh = await world.open()
    await world.files.write(fh, 0, bytes(1 << 20))
    world.files.release(fh)
    await world.namespace.unlink(ROOT, b"file")
    await trio.sleep(5)
    assert world.client.stores == []
    assert world.dirty.unstored_bytes == 0


async def test_many_are_released_together(world: World, autojump_clock: MockClock) -> None:
    """Removing a tree asks the daemon a few times."""
    for number in range(300):
        made = await world.make(str(number).encode())
        await world.namespace.unlink(ROOT, str(number).encode())
        world.orphans.forgotten([(made.number, 1)])
    await trio.sleep(1)
    assert 1 <= world.client.asked_for(Release) <= 301
    released = [request.numbers for request in world.client.asked if isinstance(request, Release)]
    assert len({number for numbers in released for number in numbers}) == sum(map(len, released)) == 300


async def test_a_release_is_tried_until_it_works(world: World, autojump_clock: MockClock) -> None:
    """While the daemon is away the orphans are not forgotten."""
    made = await world.make()
    await world.namespace.unlink(ROOT, b"file")
    world.client.unreachable = Unreachable("away")
    world.orphans.forgotten([(made.number, 1)])
    await trio.sleep(10)
    world.client.unreachable = None
    await trio.sleep(2)
    assert world.client.volume.state.find_inode(made.number) is None


async def test_orphans_that_the_daemon_names_and_nobody_holds_are_released(
    world: World, autojump_clock: MockClock
) -> None:
    """Of this session before its connection was lost."""
    made = await world.make()
    await world.namespace.unlink(ROOT, b"file")
    world.references.forgotten(made.number, 1)
    world.welcome(exclusive=True, orphans=(made.number,))
    await trio.sleep(1)
    assert world.client.volume.state.find_inode(made.number) is None
