"""Inodes without a name live while a mount holds them; then they are reaped.

Who may hold an orphan: every session that was open when it lost its name, until that session says
Release or is closed. After a restart: every session in the state.
"""

from collections import deque
from collections.abc import Iterable

import trio

from dwd.model.ids import InodeNumber, SessionId
from dwd.namespace.commands import Reap
from dwd.services.metadata import Metadata

_BATCH = 256  # orphans reaped by one command
_PAUSE_S = 0.02  # lets a batch gather


class Orphanage:
    """Who holds what; one task reaps."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._holders: dict[InodeNumber, set[SessionId]] = {}
        self._free: deque[InodeNumber] = deque()
        self._wake = trio.Event()
        self.reaped = 0

    def load(self, sessions: Iterable[SessionId]) -> None:
        """At the start: any session that is open may hold any orphan."""
        holders = list(sessions)
        for number in self._metadata.state.orphans():
            self.add(number, holders)

    def add(self, number: InodeNumber, sessions: Iterable[SessionId]) -> None:
        """An inode lost its last name while these sessions were open; told again of one that is gone, do nothing."""
        if number in self._holders or not self._metadata.state.is_orphan(number):
            return
        self._holders[number] = set(sessions)
        if not self._holders[number]:
            self._let_go(number)

    def release(self, session: SessionId, numbers: Iterable[InodeNumber]) -> None:
        """A session does not hold these."""
        for number in numbers:
            holders = self._holders.get(number)
            if holders is not None:
                holders.discard(session)
                if not holders:
                    self._let_go(number)

    def release_all(self, session: SessionId) -> None:
        """A session is closed."""
        self.release(session, self.held_by(session))

    def held_by(self, session: SessionId) -> list[InodeNumber]:
        """Orphans that a session may hold."""
        return [number for number, holders in self._holders.items() if session in holders]

    def __len__(self) -> int:
        return len(self._holders) + len(self._free)

    def _let_go(self, number: InodeNumber) -> None:
        del self._holders[number]
        self._free.append(number)
        self._wake.set()

    async def run(self) -> None:
        """Reap what nobody holds, a batch at a time."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await trio.sleep(_PAUSE_S)
            while self._free:
                await self.reap_batch()

    async def reap_batch(self) -> None:
        """Reap some of what nobody holds; an inode with many extents takes several turns."""
        batch = tuple(self._free.popleft() for _ in range(min(_BATCH, len(self._free))))
        done = await self._metadata.perform(Reap(batch))
        if done.value:
            self._free.extend(n for n in batch if self._metadata.state.is_orphan(n))
        self.reaped += len(batch) - done.value
