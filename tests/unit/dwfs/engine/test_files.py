"""Open files: a read sees every write, wherever its bytes are; errors and times go where they belong."""

import errno
import os
import stat

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT
from dwd.model.limits import FILE_BYTES_MAX
from dwd.model.units import NS_PER_S
from dwd.namespace.commands import SetAttributes
from dwd.wire.messages import Barrier, Read
from dwfs.config import MountOptions
from tests.unit.dwfs.engine.conftest import World

_FUTURE = 4_000_000_000 * NS_PER_S


async def test_a_read_sees_stored_flying_and_waiting_bytes(world: World, autojump_clock: MockClock) -> None:
    """The newest win; holes are zeros; the end is where the last of them ends."""
    _, fh = await world.open()
    await world.files.write(fh, 0, b"a" * 10)
    await world.files.fsync(fh)
    world.client.open = trio.Event()
    await world.files.write(fh, 5, b"b" * 10)
    with trio.move_on_after(1.5):
        await world.flusher.drain()
    assert world.dirty.waiting_bytes == 0
    await world.files.write(fh, 12, b"c" * 2)
    await world.files.write(fh, 20, b"d")
    assert await world.read(fh) == b"aaaaabbbbbbbccb\0\0\0\0\0d"
    assert await world.read(fh, 21) == await world.read(fh, 1 << 60) == b""
    world.client.open.set()
    await world.flusher.drain()
    assert await world.read(fh, 3, 4) == b"aabb"


async def test_an_answer_that_a_landing_overtook_is_not_shown(world: World, autojump_clock: MockClock) -> None:
    """The daemon told of the inode before it took the bytes, and they landed before its answer was looked at."""
    made, fh = await world.open()
    seen: list[object] = []

    async def read() -> None:
        seen.append(await world.read(fh))

    async def look_up() -> None:
        found = await world.namespace.lookup(ROOT, b"file")
        seen.append(found and found.size)

    async def look() -> None:
        seen.append((await world.namespace.attributes(made.number)).size)

    for exclusive in (True, False):
        content = b"shared content"[exclusive:]
        await world.namespace.set_attributes(SetAttributes(made.number, size=0))
        world.welcome(exclusive=exclusive)
        await world.files.write(fh, 0, content)
        world.inodes.forget_all()
        world.client.arriving = trio.Event()
        async with trio.open_nursery() as nursery:
            for task in (read, look_up, look):
                nursery.start_soon(task)
            await trio.testing.wait_all_tasks_blocked()
            await world.flusher.drain()
            world.inodes.forget_all()
            world.client.arriving.set()
        assert content in seen
        assert seen.count(len(content)) == 2
        seen.clear()


async def test_a_landing_counts_though_all_was_forgotten_meanwhile(world: World, autojump_clock: MockClock) -> None:
    """A connection was lost and came back: what was asked for since is older than what then landed."""
    made, fh = await world.open()
    await world.files.write(fh, 0, b"content")
    world.client.open = trio.Event()
    with trio.move_on_after(2):
        await world.flusher.drain()
    world.inodes.forget_all()
    assert (await world.namespace.attributes(made.number)).size == len(b"content")
    world.client.open.set()
    await world.flusher.drain()
    assert (await world.namespace.attributes(made.number)).size == len(b"content")
    assert await world.read(fh) == b"content"


async def test_what_is_all_dirty_or_a_hole_asks_the_daemon_nothing(world: World, autojump_clock: MockClock) -> None:
    """Not for bytes that it does not have."""
    made, fh = await world.open()
    await world.namespace.set_attributes(SetAttributes(made.number, size=1 << 40))
    await world.files.write(fh, 100, b"content")
    assert await world.read(fh, 98, 11) == b"\0\0content\0\0"
    assert world.client.asked_for(Read) == 0


async def test_truncating_takes_dirty_bytes_with_it(world: World, autojump_clock: MockClock) -> None:
    """Down and up again there are zeros, as if they had been stored."""
    made, fh = await world.open()
    await world.files.write(fh, 0, b"content")
    await world.namespace.set_attributes(SetAttributes(made.number, size=3))
    await world.namespace.set_attributes(SetAttributes(made.number, size=6))
    assert await world.read(fh) == b"con\0\0\0"
    await world.flusher.drain()
    assert world.stored(made.number) == b"con\0\0\0"


async def test_small_reads_fetch_a_block_once_and_never_show_it_stale(world: World, autojump_clock: MockClock) -> None:
    """What lands, or is cut off, is seen by the next read; a mount that is not alone keeps no blocks."""
    made, fh = await world.open()
    await world.files.write(fh, 0, b"a" * 100_000)
    await world.files.fsync(fh)
    assert [await world.read(fh, at, 4096) for at in (0, 4096, 60_000)] == [b"a" * 4096] * 3
    assert world.client.asked_for(Read) == 1
    await world.files.write(fh, 4096, b"b")
    assert await world.read(fh, 4095, 3) == b"aba"
    await world.files.fsync(fh)
    assert await world.read(fh, 4095, 3) == b"aba"
    await world.namespace.set_attributes(SetAttributes(made.number, size=4097))
    assert await world.read(fh, 4095, 4096) == b"ab"
    world.welcome(exclusive=False)
    before = world.client.asked_for(Read)
    assert [await world.read(fh, 0, 2) for _ in range(3)] == [b"aa"] * 3
    assert world.client.asked_for(Read) == before + 3


async def test_open_with_truncation(world: World, autojump_clock: MockClock) -> None:
    """The old bytes are gone for all; a second handle sees it too."""
    made, first = await world.open()
    await world.files.write(first, 0, b"content")
    await world.files.fsync(first)
    await world.files.open(made.number, os.O_TRUNC, privileged=False)
    assert await world.read(first) == b""
    assert world.stored(made.number) == b""


async def test_a_write_beyond_the_largest_file_is_refused(world: World, autojump_clock: MockClock) -> None:
    """EFBIG, and nothing of it is kept."""
    _, fh = await world.open()
    with pytest.raises(NamespaceRefusal) as raised:
        await world.files.write(fh, FILE_BYTES_MAX - 1, b"xy")
    assert raised.value.number == errno.EFBIG
    assert world.dirty.unstored_bytes == 0


async def test_appending_on_a_shared_volume_is_behind_the_newest_end(world: World, autojump_clock: MockClock) -> None:
    """The kernel's idea of the size may be old there."""
    made, fh = await world.open(flags=os.O_APPEND)
    world.coherence.recall()
    world.inodes.forget_all()
    world.client.volume.write(made.number, 0, b"by another")
    await world.files.write(fh, 0, b"; ours")
    await world.files.fsync(fh)
    assert world.stored(made.number) == b"by another; ours"


async def test_closing_sends_only_on_a_shared_volume(world: World, autojump_clock: MockClock) -> None:
    """Alone, the bytes may wait; else others must see them."""
    made, fh = await world.open()
    await world.files.write(fh, 0, b"content")
    await world.files.flush(fh)
    assert world.client.stores == []
    world.coherence.recall()
    await world.files.flush(fh)
    assert world.stored(made.number) == b"content"


async def test_a_write_makes_a_time_in_the_future_the_present(world: World, autojump_clock: MockClock) -> None:
    """It is shown so at once, and stored so."""
    made, fh = await world.open()
    await world.namespace.set_attributes(SetAttributes(made.number, mtime=_FUTURE))
    await world.files.write(fh, 0, b"content")
    assert (await world.namespace.attributes(made.number)).mtime < _FUTURE
    await world.files.fsync(fh)
    assert world.client.volume.inode(made.number).mtime < _FUTURE


async def test_times_that_are_set_win_over_late_ones(world: World, autojump_clock: MockClock) -> None:
    """Cp -p and touch: what was written before does not change them when it is sent."""
    made, fh = await world.open()
    await world.files.write(fh, 0, b"content")
    await world.namespace.set_attributes(SetAttributes(made.number, atime=7, mtime=8))
    await world.flusher.drain()
    stored = world.client.volume.inode(made.number)
    assert (stored.atime, stored.mtime) == (7, 8)
    assert world.stored(made.number) == b"content"


async def test_writing_takes_setuid_away(
    world: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the daemon's inode, and from what the kernel keeps of it."""
    told = []

    async def drop_attributes(number: int) -> None:
        await trio.lowlevel.checkpoint()
        told.append(number)

    monkeypatch.setattr("dwfs.engine.files.drop_attributes", drop_attributes)
    made, fh = await world.open()
    await world.namespace.set_attributes(SetAttributes(made.number, mode=0o4755, privileged=True))
    await world.files.write(fh, 0, b"content")
    assert stat.S_IMODE(world.client.volume.inode(made.number).mode) == 0o755
    assert told == [made.number]


class TestSync:
    """With -o sync, or O_SYNC."""

    @pytest.fixture
    def options(self) -> MountOptions:
        return MountOptions(sync=True)

    async def test_every_write_and_every_change_is_durable(self, world: World, autojump_clock: MockClock) -> None:
        """When it returns."""
        made, fh = await world.open()
        assert world.client.asked_for(Barrier) == 1
        await world.files.write(fh, 0, b"content")
        assert [durable for _, _, durable in world.client.stores] == [True]
        assert world.stored(made.number) == b"content"


@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC])
async def test_a_synchronous_handle_is_durable(flag: int, world: World, autojump_clock: MockClock) -> None:
    """Whatever the mount says."""
    _, fh = await world.open(flags=flag)
    await world.files.write(fh, 0, b"content")
    assert [durable for _, _, durable in world.client.stores] == [True]
