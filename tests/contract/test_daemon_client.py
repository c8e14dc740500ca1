"""What the engine relies on of its daemon, held against a real one, and against the fake that its unit tests use."""

import errno
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT, InodeNumber, SessionId
from dwd.model.inode import Inode
from dwd.namespace.commands import FileData, MakeNode, SetAttributes, Unlink
from dwd.wire.messages import Barrier, Found, GetInode, Lookup, Orphaned, Recall, Release, Space, VolumeSpace, Welcome
from dwfs.answers import expect
from dwfs.client import Client
from dwfs.connecting import ClientOptions
from dwfs.watch import Watch
from tests.integration.daemon import Daemon
from tests.unit.dwfs.engine.fake_client import FakeClient

_PATIENCE_S = 10.0
_SEGMENT = 200_000


class _Deaf:
    """An observer that needs nothing."""

    def holding(self) -> tuple[InodeNumber, ...]:
        return ()

    def welcomed(self, welcome: Welcome) -> None:
        pass

    def pushed(self, push: Recall | Orphaned) -> None:
        pass

    def abandoned(self) -> None:
        pass


async def _no_daemon() -> None:
    raise AssertionError("it runs already")


@asynccontextmanager
async def connected(daemon: Daemon | None) -> AsyncIterator[Client]:
    """The fake, or a client of a real daemon."""
    if daemon is None:
        yield FakeClient()
        return
    options = ClientOptions(daemon.data / "mount.sock", SessionId(b"c" * 16), "/m", _PATIENCE_S, _no_daemon)
    client = Client(options, _Deaf(), Watch())
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        yield client
        nursery.cancel_scope.cancel()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.slow)], name="daemon")
def a_daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon | None]:
    """None for the fake."""
    if request.param == "fake":
        yield None
        return
    made = Daemon(tmp_path / "data")
    made.start()
    yield made
    made.end()


async def _make(client: Client, name: bytes = b"file") -> Inode:
    node = MakeNode(ROOT, name, InodeNumber(0), stat.S_IFREG | 0o640, 5, 6)
    return (await client.mutate(node)).inodes[0]


async def _find(client: Client, number: InodeNumber) -> Inode | None:
    return expect(await client.call(GetInode(number)), Found).inode


async def test_what_was_made_is_found(daemon: Daemon | None) -> None:
    """By its name and by its number, which the daemon chose; the first inode of an answer is what was made."""
    async with connected(daemon) as client:
        made = await _make(client)
        assert (made.mode, made.uid, made.gid, made.links) == (stat.S_IFREG | 0o640, 5, 6, 1)
        assert made.number > ROOT
        assert expect(await client.call(Lookup(ROOT, b"file")), Found).inode == made
        assert await _find(client, made.number) == made
        assert expect(await client.call(Lookup(ROOT, b"none")), Found).inode is None


async def test_what_posix_declines_is_a_refusal_with_its_errno(daemon: Daemon | None) -> None:
    """And changes nothing."""
    async with connected(daemon) as client:
        made = await _make(client)
        with pytest.raises(NamespaceRefusal) as raised:
            await _make(client)
        assert raised.value.number == errno.EEXIST
        assert await _find(client, made.number) == made


@pytest.mark.parametrize("durable", [False, True])
async def test_bytes_that_were_stored_are_read(durable: bool, daemon: Daemon | None) -> None:
    """Inline and from a segment; the answer has the file as it is then, with the time that was told."""
    async with connected(daemon) as client:
        number = (await _make(client)).number
        payload = bytes(range(250)) * (_SEGMENT // 250)
        files = (FileData(number, ((10, _SEGMENT, 0),), (), 77),)
        stored = await client.store(files, [payload[:1000], memoryview(payload)[1000:]], durable=durable)
        assert (stored.inodes[0].size, stored.inodes[0].mtime) == (_SEGMENT + 10, 77)
        stored = await client.store((FileData(number, (), ((0, b"inline"),), 78, 79),), [], durable=durable)
        assert (stored.inodes[0].mtime, stored.inodes[0].atime) == (78, 79)
        assert stored.available > 0
        assert bytes(await client.read(number, 0, 12)) == b"inline\0\0\0\0\0\1"
        assert bytes(await client.read(number, _SEGMENT, 100)) == payload[-10:]
        assert bytes(await client.read(number, _SEGMENT + 10, 100)) == b""


async def test_truncating_leaves_zeros(daemon: Daemon | None) -> None:
    """Down and up again."""
    async with connected(daemon) as client:
        number = (await _make(client)).number
        await client.store((FileData(number, (), ((0, b"content"),)),), [], durable=False)
        for size in (3, 6):
            done = await client.mutate(SetAttributes(number, size=size))
            assert done.inodes[0].size == size
        assert bytes(await client.read(number, 0, 100)) == b"con\0\0\0"


async def test_an_orphan_lives_until_it_is_released(daemon: Daemon | None) -> None:
    """The answer to the removal names it."""
    async with connected(daemon) as client:
        number = (await _make(client)).number
        await client.store((FileData(number, (), ((0, b"content"),)),), [], durable=False)
        assert (await client.mutate(Unlink(ROOT, b"file"))).orphans == (number,)
        assert bytes(await client.read(number, 0, 100)) == b"content"
        await client.call(Release((number,)))
        with trio.fail_after(_PATIENCE_S):
            while await _find(client, number) is not None:  # noqa: ASYNC110  the other process sets no event of ours
                await trio.sleep(0.01)
        stored = await client.store((FileData(number, (), ((0, b"late"),)),), [], durable=False)
        assert stored.inodes == ()


async def test_a_barrier_and_the_room_are_answered(daemon: Daemon | None) -> None:
    """Room for what a volume holds."""
    async with connected(daemon) as client:
        await client.call(Barrier())
        space = expect(await client.call(VolumeSpace()), Space)
        assert 0 < space.available <= space.total
