"""Tells the daemon which orphans nobody holds any more: in batches, soon after."""

from collections.abc import Iterable
from typing import Final

import trio

from dwd.model.errors import DwError
from dwd.model.ids import InodeNumber
from dwd.wire.messages import Release
from dwfs.cache.dirty import Dirty
from dwfs.cache.references import References
from dwfs.client import Client
from dwfs.engine.inodes import Inodes

_PAUSE_S: Final = 0.05  # removing a tree makes many at once
_BATCH_MAX: Final = 256
_RETRY_S: Final = 1.0


class Orphans:
    """What the kernel and the handles let go of."""

    def __init__(self, client: Client, references: References, dirty: Dirty, inodes: Inodes) -> None:
        self._client = client
        self._references = references
        self._dirty = dirty
        self._inodes = inodes
        self._wake = trio.Event()

    async def run(self) -> None:
        """Release what is free, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await trio.sleep(_PAUSE_S)
            while self._references.free_count():
                await self._release(self._references.take_free(_BATCH_MAX))

    def add(self, numbers: Iterable[InodeNumber]) -> None:
        """These lost their last name: what is dirty of them need not be stored, unless somebody reads it still."""
        for number in numbers:
            self._inodes.drop(number)
            if not self._references.is_open(number):
                self._dirty.forget(number)
            self._references.orphaned((number,))
        self._look()

    def forgotten(self, counts: Iterable[tuple[InodeNumber, int]]) -> None:
        """The kernel gives back lookups."""
        for number, count in counts:
            self._references.forgotten(number, count)
        self._look()

    def closed(self, number: InodeNumber) -> None:
        """A handle was closed."""
        self._references.closed(number)
        if self._references.is_orphan(number) and not self._references.is_open(number):
            self._dirty.forget(number)
        self._look()

    def _look(self) -> None:
        if self._references.free_count():
            self._wake.set()

    async def _release(self, numbers: tuple[InodeNumber, ...]) -> None:
        while True:
            try:
                await self._client.call(Release(numbers))
            except DwError:
                await trio.sleep(_RETRY_S)
            else:
                return
