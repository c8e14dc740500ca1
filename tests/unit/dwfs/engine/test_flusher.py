"""When dirty bytes are sent, what waits for it, and what becomes of them when the daemon cannot take them."""

import errno

import pytest
import trio
from trio.testing import MockClock

from dwd.model.errors import Fault, NamespaceRefusal, NoSpace, Unreachable
from dwd.model.limits import SEGMENT_BYTES_MAX
from dwd.model.units import KIB, MIB
from dwd.wire.messages import Barrier, VolumeSpace
from dwfs.cache.dirty import BYTES_MAX
from dwfs.engine.flusher import FLUSH_AGE_S
from tests.unit.dwfs.engine.conftest import TIMEOUT_S, World


async def test_small_writes_wait_for_each_other(world: World, autojump_clock: MockClock) -> None:
    """Nothing is sent at once; after a second at most all of it goes together, as one store."""
    opened = [await world.open(name) for name in (b"a", b"b", b"c")]
    for _, fh in opened:
        await world.files.write(fh, 0, b"content")
    await trio.sleep(FLUSH_AGE_S / 4)
    assert world.client.stores == []
    await trio.sleep(FLUSH_AGE_S)
    assert [len(files) for files, _, _ in world.client.stores] == [3]
    assert [world.stored(made.number) for made, _ in opened] == [b"content"] * 3


async def test_a_whole_segment_goes_at_once(world: World, autojump_clock: MockClock) -> None:
    """Without waiting for its age; what is over waits on."""
    _, fh = await world.open()
    for number in range(5):
        await world.files.write(fh, number * MIB, bytes([number]) * MIB)
    await trio.testing.wait_all_tasks_blocked()
    assert [size for _, size, _ in world.client.stores] == [SEGMENT_BYTES_MAX]
    assert world.dirty.waiting_bytes == MIB
    assert await world.read(fh, 4 * MIB, 3) == b"\4\4\4"


async def test_fsync_sends_and_returns_when_it_is_durable(world: World, autojump_clock: MockClock) -> None:
    """Small bytes ride in the log, with no payload; when nothing is dirty a barrier does."""
    made, fh = await world.open()
    await world.files.write(fh, 0, b"x" * KIB)
    await world.files.fsync(fh)
    ((files, payload, durable),) = world.client.stores
    assert (payload, durable) == (0, True)
    assert files[0].inline == ((0, b"x" * KIB),)
    assert world.client.asked_for(Barrier) == 0
    await world.files.fsync(fh)
    assert len(world.client.stores) == world.client.asked_for(Barrier) == 1
    assert world.stored(made.number) == b"x" * KIB


async def test_fsync_gives_up_within_the_bound_and_keeps_the_bytes(world: World, autojump_clock: MockClock) -> None:
    """They stay readable, and arrive when the daemon is back."""
    made, fh = await world.open()
    world.client.open = trio.Event()
    await world.files.write(fh, 0, b"content")
    begun = trio.current_time()
    with pytest.raises(Unreachable):
        await world.files.fsync(fh)
    assert trio.current_time() - begun == pytest.approx(TIMEOUT_S)
    assert await world.read(fh) == b"content"
    world.client.open.set()
    await world.flusher.drain()
    assert world.stored(made.number) == b"content"


async def test_a_writer_beyond_the_bound_waits_and_then_fails(world: World, autojump_clock: MockClock) -> None:
    """While nothing moves, the buffer is never over its bound; when it moves, the writer goes on."""
    _, fh = await world.open()
    world.client.open = trio.Event()
    full = BYTES_MAX // MIB - 1  # what the pieces weigh themselves takes the last one
    for number in range(full):
        await world.files.write(fh, number * MIB, bytes(MIB))
    with pytest.raises(Unreachable, match="the write buffer is full"):
        await world.files.write(fh, full * MIB, bytes(MIB))
    assert world.dirty.weight <= BYTES_MAX
    world.client.open.set()
    await world.files.write(fh, 0, bytes(MIB))


async def test_a_store_that_fails_is_tried_again(world: World, autojump_clock: MockClock) -> None:
    """A fault of the daemon may pass."""
    made, fh = await world.open()
    world.client.failures.extend([Fault("a brick is gone"), Fault("still")])
    await world.files.write(fh, 0, b"content")
    await world.files.fsync(fh)
    assert world.stored(made.number) == b"content"


@pytest.mark.parametrize(
    ("failures", "number"), [([NoSpace("full")], errno.ENOSPC), ([Fault("gone")] * 3, errno.EIO)], ids=["full", "fault"]
)
async def test_bytes_that_are_refused_are_told_to_every_open_handle(
    failures: list[Exception], number: int, world: World, autojump_clock: MockClock
) -> None:
    """Once to each, as the kernel does it; who opens later hears nothing."""
    made, first = await world.open()
    second = await world.files.open(made.number, 0, privileged=False)
    world.client.failures.extend(failures)  # type: ignore[arg-type]
    await world.files.write(first, 0, b"content")
    for fh in (first, second):
        with pytest.raises(NamespaceRefusal) as raised:
            await world.files.fsync(fh)
        assert raised.value.number == number
        await world.files.fsync(fh)
    later = await world.files.open(made.number, 0, privileged=False)
    await world.files.fsync(later)
    assert len(world.dirty) == 0


async def test_a_full_volume_refuses_the_write_itself(world: World, autojump_clock: MockClock) -> None:
    """After it has asked how much room there is; when there is some again, writing works."""
    _, fh = await world.open()
    world.flusher.available = world.client.available = 0
    with pytest.raises(NoSpace):
        await world.files.write(fh, 0, b"content")
    assert world.client.asked_for(VolumeSpace) == 1
    world.client.available = 100 * MIB
    assert await world.files.write(fh, 0, b"content") == 7


async def test_on_a_nearly_full_volume_a_write_is_stored_before_it_returns(
    world: World, autojump_clock: MockClock
) -> None:
    """So that who wrote too much is who hears of it."""
    _, fh = await world.open()
    world.flusher.available = world.client.available = MIB
    world.client.failures.append(NoSpace("full"))
    with pytest.raises(NamespaceRefusal) as raised:
        await world.files.write(fh, 0, b"content")
    assert raised.value.number == errno.ENOSPC


async def test_drain_sends_everything(world: World, autojump_clock: MockClock) -> None:
    """Bytes and late times, whatever their age."""
    made, fh = await world.open()
    await world.files.write(fh, 0, b"content")
    world.dirty.touch(made.number, atime=5)
    await world.flusher.drain()
    assert len(world.dirty) == 0
    assert world.stored(made.number) == b"content"
    assert world.client.volume.inode(made.number).atime == 5
