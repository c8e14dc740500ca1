"""The engine on a daemon in memory, its background tasks running. Time jumps: the tests ask for autojump_clock."""

import stat
from collections.abc import AsyncIterator

import attrs
import pytest
import trio

from dwd.model.ids import ROOT, Epoch, InodeNumber, VolumeId
from dwd.model.inode import Inode
from dwd.namespace.commands import MakeNode
from dwd.wire.messages import PROTOCOL_VERSION, Welcome
from dwfs.cache.coherence import Coherence
from dwfs.cache.dirty import Dirty
from dwfs.cache.names import NameCache
from dwfs.cache.references import References
from dwfs.config import MountOptions
from dwfs.engine.directories import Directories
from dwfs.engine.feeding import Feeder
from dwfs.engine.files import Files
from dwfs.engine.flusher import Flusher
from dwfs.engine.inodes import Inodes
from dwfs.engine.listener import Listener
from dwfs.engine.namespace import Namespace
from dwfs.engine.orphans import Orphans
from dwfs.handles import Handles
from tests.unit.dwfs.engine.fake_client import GIB, FakeClient

TIMEOUT_S = 5.0


@attrs.define
class World:
    """All parts."""

    options: MountOptions
    client: FakeClient
    coherence: Coherence
    dirty: Dirty
    references: References
    handles: Handles
    inodes: Inodes
    flusher: Flusher
    feeder: Feeder
    orphans: Orphans
    files: Files
    namespace: Namespace
    listener: Listener
    nursery: trio.Nursery
    dropped: list[InodeNumber]  # whose pages the kernel was told to drop
    fed: list[tuple[InodeNumber, int, bytes]]  # pages that the kernel was given

    async def make(self, name: bytes = b"file") -> Inode:
        """A new file."""
        node = MakeNode(ROOT, name, InodeNumber(0), stat.S_IFREG | 0o644, 1000, 1000)
        return await self.namespace.make(node)

    async def open(self, name: bytes = b"file", flags: int = 0) -> tuple[Inode, int]:
        """A new file, open."""
        made = await self.make(name)
        return made, await self.files.open(made.number, flags, privileged=False)

    async def read(self, fh: int, offset: int = 0, size: int = 1 << 20) -> bytes:
        """Bytes, as a program gets them."""
        return bytes(await self.files.read(fh, offset, size))

    def stored(self, number: InodeNumber) -> bytes:
        """What the daemon has of a file."""
        return self.client.volume.read(number)

    def welcome(self, *, exclusive: bool, orphans: tuple[InodeNumber, ...] = ()) -> None:
        """A connection comes up."""
        welcome = Welcome(PROTOCOL_VERSION, VolumeId(b"v" * 16), Epoch(1), exclusive, orphans, self.client.available)
        self.listener.welcomed(welcome)


def _introduced(client: FakeClient, options: MountOptions, nursery: trio.Nursery) -> World:
    coherence, references, names, handles, dirty = Coherence(), References(), NameCache(), Handles(), Dirty()
    dropped: list[InodeNumber] = []

    async def drop_pages(number: InodeNumber) -> None:
        await trio.lowlevel.checkpoint()
        dropped.append(number)

    fed: list[tuple[InodeNumber, int, bytes]] = []

    async def feed_pages(number: InodeNumber, offset: int, data: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        fed.append((number, offset, bytes(data)))

    listener = Listener(coherence, references, names, drop_pages)
    inodes = Inodes(client, coherence, dirty)
    flusher = Flusher(client, dirty, inodes, handles, timeout=options.timeout)
    orphans = Orphans(client, references, dirty, inodes)
    feeder = Feeder(client, coherence, inodes, dirty, handles, feed_pages)
    listener.introduce(client, inodes, orphans, flusher, feeder)
    directories = Directories(client, inodes, references, handles)
    files = Files(
        client=client,
        options=options,
        coherence=coherence,
        inodes=inodes,
        dirty=dirty,
        flusher=flusher,
        feeder=feeder,
        orphans=orphans,
        references=references,
        handles=handles,
    )
    namespace = Namespace(
        client=client,
        options=options,
        inodes=inodes,
        names=names,
        dirty=dirty,
        flusher=flusher,
        orphans=orphans,
        references=references,
        files=files,
        directories=directories,
    )
    return World(
        options,
        client,
        coherence,
        dirty,
        references,
        handles,
        inodes,
        flusher,
        feeder,
        orphans,
        files,
        namespace,
        listener,
        nursery,
        dropped,
        fed,
    )


@pytest.fixture
def options() -> MountOptions:
    """Of the mount; a test module may have its own."""
    return MountOptions(timeout=TIMEOUT_S)


@pytest.fixture
async def world(options: MountOptions) -> AsyncIterator[World]:
    """A mount that is alone on its volume."""
    async with trio.open_nursery() as nursery:
        made = _introduced(FakeClient(), options, nursery)
        made.client.available = GIB
        await nursery.start(made.flusher.run)
        nursery.start_soon(made.feeder.run)
        nursery.start_soon(made.orphans.run)
        nursery.start_soon(made.listener.run)
        made.welcome(exclusive=True)
        yield made
        nursery.cancel_scope.cancel()
