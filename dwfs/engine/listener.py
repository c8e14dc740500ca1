"""Listens to the daemon: what a new connection brings, orphans that others made, and the recall of our caches.

A recall: nothing is cached from the moment it arrives; everything dirty is sent; the kernel's copies run
out; the pages of open files are dropped, from a thread, because dropping may wait for a handler; then
the daemon hears that we are done.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, cast

import trio

from dwd.model.checks import invariant
from dwd.model.errors import DwError
from dwd.model.ids import InodeNumber
from dwd.wire.messages import Orphaned, Recall, Recalled, Welcome
from dwfs.cache.coherence import Coherence
from dwfs.cache.names import NameCache
from dwfs.cache.references import References
from dwfs.client import Client
from dwfs.engine.feeding import Feeder
from dwfs.engine.flusher import Flusher
from dwfs.engine.inodes import Inodes
from dwfs.engine.orphans import Orphans

_SENDING_MAX_S: Final = 14.0  # with the lifetime of the caches, within the time that the daemon gives a recall

log = logging.getLogger(__name__)


class Listener:
    """The client's observer."""

    def __init__(
        self,
        coherence: Coherence,
        references: References,
        names: NameCache,
        drop_pages: Callable[[InodeNumber], Awaitable[None]],
    ) -> None:
        self._coherence = coherence
        self._references = references
        self._names = names
        self._drop_pages = drop_pages
        self._recalled = trio.Event()
        self._parts: tuple[Client, Inodes, Orphans, Flusher, Feeder] | None = None

    def introduce(self, client: Client, inodes: Inodes, orphans: Orphans, flusher: Flusher, feeder: Feeder) -> None:
        """Meet the parts that need the client, which needs its observer first."""
        self._parts = client, inodes, orphans, flusher, feeder

    async def run(self) -> None:
        """Answer recalls, until cancelled."""
        while True:
            await self._recalled.wait()
            self._recalled = trio.Event()
            await self._give_up_caches()

    def holding(self) -> tuple[InodeNumber, ...]:
        """The orphans to name in Hello."""
        return self._references.holding()

    def welcomed(self, welcome: Welcome) -> None:
        """A connection is up; while there was none, others may have changed anything."""
        _, _, orphans, flusher, _ = self._known_parts()
        flusher.available = welcome.available
        self._forget()
        if self._coherence.exclusive and not welcome.exclusive:
            self._recalled.set()
        self._coherence.welcome(exclusive=welcome.exclusive)
        orphans.add(welcome.orphans)

    def pushed(self, push: Recall | Orphaned) -> None:
        """The daemon says something unasked."""
        if isinstance(push, Orphaned):
            self._known_parts()[2].add(push.numbers)
            return
        self._coherence.recall()
        self._forget()
        self._recalled.set()

    def abandoned(self) -> None:
        """A change may have happened that we were not told of."""
        self._forget()

    def _forget(self) -> None:
        self._known_parts()[1].forget_all()
        self._names.clear()

    def _known_parts(self) -> tuple[Client, Inodes, Orphans, Flusher, Feeder]:
        invariant(self._parts is not None, "M2", "introduce() comes before the connection")
        return cast("tuple[Client, Inodes, Orphans, Flusher, Feeder]", self._parts)

    async def _give_up_caches(self) -> None:
        client, _, _, flusher, feeder = self._known_parts()
        with trio.move_on_after(_SENDING_MAX_S):
            await flusher.drain()
        await feeder.idle()
        await trio.sleep_until(self._coherence.expires())
        for number in self._references.open_numbers():
            await self._drop_pages(number)
        try:
            await client.call(Recalled())
        except DwError as error:
            log.warning("the daemon was not told that the recall is done: %s", error)
