"""Sessions of mounts: who is connected, who may cache, and when one that is away is given up.

One mount alone is exclusive: it may cache what it reads and hold back what it writes. When a second
one says Hello, the first is recalled and from then on all are shared, until only one is left and
says Hello anew. A session is in the log, so that it outlives the daemon; a mount that does not come
back within the grace is closed, and its later requests are refused.
"""

from typing import Protocol

import attrs
import trio

from dwd.model.errors import BadRequest, NamespaceRefusal, Overloaded, VolumeMismatch
from dwd.model.ids import InodeNumber, SessionId, VolumeId
from dwd.namespace import keys
from dwd.namespace.commands import CloseSession, OpenSession
from dwd.namespace.sessions import find_session
from dwd.services.metadata import Metadata
from dwd.services.orphans import Orphanage
from dwd.services.space import SpaceKeeper
from dwd.wire.messages import PROTOCOL_VERSION, Hello, Orphaned, Push, Recall, Welcome

_GRACE_S = 60.0  # a mount reconnects within its own bound, 30 s by default
_RECALL_S_MAX = 20.0  # the mount's cache lifetime, and time to send what is dirty
_ORPHANS_MAX = 10_000  # named in one Welcome; the others stay until the session ends
_SESSIONS_MAX = 1024  # refuse; connected or away: each keeps what its last requests came to


class MountPeer(Protocol):
    """A connection, as this service needs it."""

    def push(self, message: Push) -> None:
        """Send something unasked."""

    def disconnect(self) -> None:
        """End the connection."""


@attrs.define(eq=False)
class Mount:
    """One session."""

    session: SessionId
    label: str
    peer: MountPeer | None = None
    pid: int = 0
    exclusive: bool = False
    away_since: float = 0.0
    recalled: trio.Event = attrs.field(factory=trio.Event)


class Mounts:
    """All sessions of the volume at this node."""

    def __init__(self, volume: VolumeId, metadata: Metadata, orphans: Orphanage, space: SpaceKeeper) -> None:
        self._volume = volume
        self._metadata = metadata
        self._orphans = orphans
        self._space = space
        self._mounts: dict[SessionId, Mount] = {}
        self._admission = trio.Lock()  # one Hello at a time: who is exclusive is decided once

    def load(self) -> None:
        """At the start: the sessions in the state have the grace to come back."""
        now = trio.current_time()
        state = self._metadata.state
        for key, _ in state.store.range(*keys.table(b"M")):
            session = SessionId(key[1:])
            record = find_session(state, session)
            if record is not None:
                self._mounts[session] = Mount(session, record.label, away_since=now)
        self._orphans.load(self._mounts)

    def all(self) -> list[Mount]:
        """Every session, connected or away."""
        return list(self._mounts.values())

    async def hello(self, peer: MountPeer, hello: Hello) -> tuple[Mount, Welcome]:
        """Take a connection in.

        Raises:
            BadRequest: another protocol.
            VolumeMismatch: the session was given up; the mount must begin a new one.
            Overloaded: there are too many sessions.
        """
        if hello.protocol != PROTOCOL_VERSION:
            raise BadRequest(
                f"the mount speaks protocol {hello.protocol}, this daemon {PROTOCOL_VERSION}; use one version of both"
            )
        async with self._admission:
            mount = await self._session(hello)
            mount.away_since = trio.current_time()  # it has come back: the grace begins anew while others are recalled
            others = [m for m in self._mounts.values() if m is not mount and m.peer is not None]
            for other in others:
                await self._recall(other)
            if mount.peer is not None and mount.peer is not peer:
                mount.peer.disconnect()
            mount.peer = peer
            mount.exclusive = not any(m.peer is not None for m in self._mounts.values() if m is not mount)
            mount.recalled = trio.Event()
            return mount, self._welcome(mount)

    async def _session(self, hello: Hello) -> Mount:
        known = self._mounts.get(hello.session)
        if known is not None:
            return known
        if len(self._mounts) >= _SESSIONS_MAX:
            raise Overloaded(f"{len(self._mounts)} mounts are connected or were lately; try again in a minute")
        if hello.next_request != 1:
            raise VolumeMismatch("this mount was away for too long and its session is closed; unmount and mount again")
        try:
            await self._metadata.perform(OpenSession(hello.session, hello.label))
        except NamespaceRefusal as refusal:
            raise BadRequest("a session id that exists already") from refusal
        mount = Mount(hello.session, hello.label)
        self._mounts[hello.session] = mount
        return mount

    def _welcome(self, mount: Mount) -> Welcome:
        return Welcome(
            protocol=PROTOCOL_VERSION,
            volume=self._volume,
            epoch=self._metadata.epoch,
            exclusive=mount.exclusive,
            orphans=tuple(self._orphans.held_by(mount.session)[:_ORPHANS_MAX]),
            available=self._space.room().available,
        )

    async def _recall(self, mount: Mount) -> None:
        """Take the right to cache back; a mount that does not answer is given up."""
        if not mount.exclusive or mount.peer is None:
            return
        mount.peer.push(Recall())
        recalled = mount.recalled
        with trio.move_on_after(_RECALL_S_MAX):
            await recalled.wait()
        mount.exclusive = False
        if not recalled.is_set():
            await self.close(mount)

    def disconnected(self, mount: Mount, peer: MountPeer) -> None:
        """A connection ended; the session waits for the next."""
        if mount.peer is peer:
            mount.peer = None
            mount.away_since = trio.current_time()
            mount.recalled.set()

    async def close(self, mount: Mount) -> None:
        """End a session for good."""
        if self._mounts.pop(mount.session, None) is None:
            return
        self._orphans.release_all(mount.session)
        await self._metadata.perform(CloseSession(mount.session))
        if mount.peer is not None:
            mount.peer.disconnect()

    def orphaned(self, numbers: tuple[InodeNumber, ...], by: SessionId) -> None:
        """These lost their last name: tell everybody else who may hold them."""
        for number in numbers:
            self._orphans.add(number, self._mounts)
        for mount in self._mounts.values():
            if mount.session != by and mount.peer is not None:
                mount.peer.push(Orphaned(numbers))

    async def run(self) -> None:
        """Give up those who stay away."""
        while True:
            await trio.sleep(1)
            now = trio.current_time()
            for mount in self.all():
                if mount.peer is None and now - mount.away_since > _GRACE_S:
                    await self.close(mount)
