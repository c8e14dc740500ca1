"""A daemon in memory, in place of the client: the real state machine answers, and a test may hold stores back.

tests/contract/test_daemon_client.py holds it against a real daemon.
"""

from collections import deque
from collections.abc import Sequence

import trio
from msgspec.structs import replace

from dwd.model.errors import DwError, NamespaceRefusal
from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode
from dwd.namespace.commands import FileData, MakeNode, Reap, StoreData
from dwd.namespace.outcomes import Done, Refused
from dwd.wire import messages as wire
from dwfs.client import Client, NamespaceOperation
from tests.unit.namespace.volume import Volume

GIB = 1 << 30


class FakeClient(Client):
    """What the engine sees of the wire."""

    def __init__(self) -> None:
        self.volume = Volume()
        self.asked: list[wire.Request] = []
        self.stores: list[tuple[tuple[FileData, ...], int, bool]] = []  # files, bytes of the payload, durable
        self.available = GIB
        self.failures: deque[DwError] = deque()  # of the next stores
        self.unreachable: DwError | None = None  # of every call but a store
        self.open = trio.Event()  # stores wait for it
        self.open.set()
        self.arriving = trio.Event()  # answers about inodes are on their way until then
        self.arriving.set()

    async def call(
        self, request: wire.Request, payload: Sequence[bytes | memoryview] = (), *, patient: bool = False
    ) -> wire.Reply:
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        if self.unreachable is not None:
            raise self.unreachable
        match request:
            case wire.GetInode(number=number):
                return await self._arrived(wire.Found(self._inode(number)))
            case wire.Lookup(parent=parent, name=name):
                return await self._arrived(wire.Found(self.volume.find(name, parent)))
            case wire.VolumeSpace():
                return wire.Space(GIB, self.available, 1)
            case wire.Release(numbers=numbers):
                self.volume.do(Reap(numbers))
                return wire.Acknowledged()
            case wire.Barrier() | wire.Recalled():
                return wire.Acknowledged()
            case _:
                raise AssertionError(f"the fake does not know {request}")

    async def read(self, number: InodeNumber, offset: int, length: int) -> memoryview:
        await trio.lowlevel.checkpoint()
        self.asked.append(wire.Read(number, offset, length))
        return memoryview(self.volume.read(number, offset, length))

    async def mutate(self, operation: NamespaceOperation) -> Done:
        await trio.lowlevel.checkpoint()
        if self.unreachable is not None:
            raise self.unreachable
        if isinstance(operation, MakeNode):
            operation = replace(operation, number=self.volume.next_number)
        outcome = self.volume.outcome(operation)
        if isinstance(outcome, Refused):
            raise NamespaceRefusal(outcome.number)
        return outcome

    async def store(
        self, files: tuple[FileData, ...], payload: Sequence[bytes | memoryview], *, durable: bool
    ) -> wire.Stored:
        await self.open.wait()
        if self.failures:
            raise self.failures.popleft()
        data = b"".join(payload)
        self.stores.append((files, len(data), durable))
        self.volume.do(StoreData(self.volume.segment(data) if data else None, files))
        inodes = (self._inode(file.number) for file in files)
        return wire.Stored(tuple(inode for inode in inodes if inode is not None), self.available)

    async def _arrived(self, reply: wire.Reply) -> wire.Reply:
        await self.arriving.wait()
        return reply

    def asked_for(self, kind: type[wire.Request]) -> int:
        """How often."""
        return sum(isinstance(request, kind) for request in self.asked)

    def _inode(self, number: InodeNumber) -> Inode | None:
        return self.volume.state.find_inode(number)
