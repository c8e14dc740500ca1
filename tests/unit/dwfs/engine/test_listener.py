"""What the daemon says unasked: welcomes, recalls, and orphans that others made."""

import trio
from trio.testing import MockClock

from dwd.model.ids import ROOT
from dwd.wire.messages import GetInode, Orphaned, Recall, Recalled, Release
from dwfs.cache.coherence import CACHE_LIFETIME_S
from tests.unit.dwfs.engine.conftest import World


async def test_a_recall_is_answered_when_nothing_is_cached_any_more(world: World, autojump_clock: MockClock) -> None:
    """Dirty bytes are stored, the kernel's copies run out, the pages of open files are dropped; in that order."""
    made, fh = await world.open()
    await world.files.write(fh, 0, b"content")
    world.coherence.lifetime(trio.current_time())
    begun = trio.current_time()
    world.listener.pushed(Recall())
    assert world.coherence.lifetime(trio.current_time()) == 0, "from this moment on"
    await trio.sleep(CACHE_LIFETIME_S - 0.01)
    assert world.stored(made.number) == b"content"
    assert world.client.asked_for(Recalled) == 0
    await trio.sleep(1)
    assert world.dropped == [made.number]
    assert world.client.asked_for(Recalled) == 1
    assert trio.current_time() - begun < CACHE_LIFETIME_S + 2


async def test_a_recall_is_answered_although_the_daemon_takes_nothing(world: World, autojump_clock: MockClock) -> None:
    """Within the time that it gives: other mounts must not wait for ever."""
    _, fh = await world.open()
    world.client.open = trio.Event()
    await world.files.write(fh, 0, b"content")
    world.listener.pushed(Recall())
    await trio.sleep(20)
    assert world.client.asked_for(Recalled) == 1
    world.client.open.set()


async def test_after_a_new_connection_nothing_that_was_known_is_relied_on(
    world: World, autojump_clock: MockClock
) -> None:
    """Others may have changed everything meanwhile; and the room is what the daemon says now."""
    made = await world.make()
    world.client.available = 12345
    world.welcome(exclusive=True)
    await world.namespace.attributes(made.number)
    assert world.client.asked_for(GetInode) == 1
    assert world.flusher.available == 12345


async def test_exclusive_before_and_shared_after_a_lost_connection_is_a_recall(
    world: World, autojump_clock: MockClock
) -> None:
    """The daemon need not send one."""
    world.welcome(exclusive=False)
    await trio.sleep(10)
    assert world.client.asked_for(Recalled) == 1


async def test_a_change_that_may_have_happened_makes_the_caches_void(world: World, autojump_clock: MockClock) -> None:
    """It was given up without an answer."""
    made = await world.make()
    world.listener.abandoned()
    await world.namespace.attributes(made.number)
    assert world.client.asked_for(GetInode) == 1


async def test_an_orphan_that_another_mount_made(world: World, autojump_clock: MockClock) -> None:
    """Is held while it is open here, and released when it is closed."""
    made, fh = await world.open()
    await world.namespace.unlink(ROOT, b"file")
    world.listener.pushed(Orphaned((made.number,)))
    world.orphans.forgotten([(made.number, 1)])
    await trio.sleep(1)
    assert world.client.asked_for(Release) == 0
    world.files.release(fh)
    await trio.sleep(1)
    assert world.client.asked_for(Release) == 1
