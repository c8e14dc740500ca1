"""Sends what is dirty: the one task that does it in the background, and those who wait for it.

Sent: as soon as a whole segment waits, when the oldest bytes are FLUSH_AGE_S old, and when somebody
needs it (fsync, close on a shared volume, umount, a full buffer). Every flight flies in a task of the
one nursery here, so that a caller who gives up waiting does not lose it; while the daemon is away it
stays in the air, its bytes readable. What the daemon refuses is dropped, and told to who has the file open.

On a volume that is nearly full a write is sent before it returns (is_tight), so that who gets ENOSPC is who
wrote too much: the room is an estimate, for metadata grows too.

Bounds: BYTES_MAX dirty (writers wait, in order), FLIGHTS_MAX segments in the air (the next waits).
"""

import errno
import logging
import math
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Final

import attrs
import trio

from dwd.model.checks import invariant
from dwd.model.errors import DwError, NoSpace, Unreachable
from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode
from dwd.model.limits import INLINE_BYTES_MAX, SEGMENT_BYTES_MAX
from dwd.model.units import MIB
from dwd.wire.messages import Barrier, Space, VolumeSpace
from dwfs.answers import expect
from dwfs.cache.dirty import BYTES_MAX, Dirty, DirtyFile, Flight, shipment
from dwfs.client import Client
from dwfs.engine.inodes import Inodes
from dwfs.handles import Handles

FLUSH_AGE_S: Final = 1.0  # what was written longer ago is on its way
_TICK_S: Final = 0.5  # between two looks
_TIMES_AGE_S: Final = 10.0  # late access times alone may wait longer
FLIGHTS_MAX: Final = 4
_TIGHT_BYTES: Final = 32 * MIB  # with less room than this beyond what is dirty, the estimate is not relied on
_TRIES_MAX: Final = 3  # of a store that the daemon reports a fault for
_TRY_PAUSE_S: Final = 1.0

log = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Writer:
    """Somebody who waits for room."""

    length: int
    admitted: trio.Event = attrs.field(factory=trio.Event)


class Flusher:
    """Owner of the flights."""

    def __init__(self, client: Client, dirty: Dirty, inodes: Inodes, handles: Handles, *, timeout: float) -> None:
        self._client = client
        self._dirty = dirty
        self._inodes = inodes
        self._handles = handles
        self._timeout = timeout
        self._slots = trio.Semaphore(FLIGHTS_MAX)
        self._wake = trio.Event()
        self._landing = trio.Event()
        self._writers: deque[_Writer] = deque()
        self._nursery: trio.Nursery | None = None
        self._armed = False  # run() wakes by itself
        self._draining = 0
        self._times_sent = 0.0
        self.available = 0  # bytes that the volume can still store

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send what is due, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._times_sent = trio.current_time()
            task_status.started()
            while True:
                self._send_due()
                self._armed = len(self._dirty) > 0
                with trio.move_on_after(_TICK_S if self._armed else math.inf):
                    await self._wake.wait()
                self._wake = trio.Event()

    def written(self) -> None:
        """Something became dirty."""
        if not self._armed or self._dirty.waiting_bytes >= SEGMENT_BYTES_MAX:
            self._wake.set()

    def has_room(self, length: int) -> bool:
        """Whether a write may go on at once."""
        dirty = self._dirty
        return (
            not self._writers and dirty.weight + length <= BYTES_MAX and dirty.unstored_bytes + length <= self.available
        )

    def is_tight(self) -> bool:
        """Whether the volume is so full that what is dirty may not fit."""
        return self.available - self._dirty.unstored_bytes < _TIGHT_BYTES

    async def make_room(self, length: int) -> None:
        """Wait for one's turn to write.

        Raises:
            NoSpace: the volume cannot store it.
            Unreachable: nothing moved within the bound.
        """
        if self._writers or self._dirty.weight + length > BYTES_MAX:
            await self._queue(length)
        if self._dirty.unstored_bytes + length > self.available:
            await self._ask_space(length)

    async def flush_file(self, number: InodeNumber, *, durable: bool) -> None:
        """Send what a file has now; with `durable`, it and everything before it survives a power cut.

        What the daemon refused is not raised here, but told to the handles.

        Raises:
            Unreachable: the daemon did not take it within the bound; it stays dirty.
        """
        file = self._dirty.hold(number)
        sent = False
        if file is not None:
            try:
                with trio.fail_after(self._timeout):
                    sent = await self._send_file(file, durable=durable)
            except trio.TooSlowError:
                raise Unreachable(f"the bytes of inode {number} were not taken within the bound") from None
            finally:
                self._dirty.let_go(file)
        if durable and not sent:
            await self._client.call(Barrier())

    async def wait_for_flights(self, number: InodeNumber) -> None:
        """Wait until nothing of a file that is in the air now is there any more. Raises Unreachable."""
        file = self._dirty.get(number)
        if file is None or not file.flights:
            return
        try:
            with trio.fail_after(self._timeout):
                await self._landed(list(file.flights))
        except trio.TooSlowError:
            raise Unreachable(f"the bytes of inode {number} were not taken within the bound") from None

    async def drain(self) -> None:
        """Send everything, for as long as it takes."""
        self._draining += 1
        try:
            while len(self._dirty):
                self._wake.set()
                with trio.move_on_after(_TICK_S):
                    await self._landing.wait()
        finally:
            self._draining -= 1

    def _send_due(self) -> None:
        if not len(self._dirty):
            return
        everything = self._is_old(trio.current_time()) or self._draining > 0 or len(self._writers) > 0
        while self._slots.value > 0 and (everything or self._dirty.waiting_bytes >= SEGMENT_BYTES_MAX):
            flight = self._dirty.plan()
            if flight is None:
                return
            self._slots.acquire_nowait()
            self._start(self._fly_in_slot, flight)

    def _is_old(self, now: float) -> bool:
        oldest = self._dirty.oldest()
        if oldest is not None and now - oldest >= FLUSH_AGE_S - _TICK_S:
            return True
        if now - self._times_sent < _TIMES_AGE_S:
            return False
        self._times_sent = now
        return True

    async def _send_file(self, file: DirtyFile, *, durable: bool) -> bool:
        """Send what the file has; whether that made everything before it durable."""
        await self._landed(list(file.flights))
        fly = self._fly_durably if durable else self._fly
        flights: list[Flight] = []
        while len(file.waiting) or file.mtime_waits:
            flight = self._dirty.plan_file(file)
            if flight is not None:
                flights.append(flight)
                self._start(fly, flight)
            elif flights or not file.flights:
                break
            else:  # another fsync of this file has bytes in the air that these would overtake
                await self._landed(list(file.flights))
        await self._landed(flights)
        return durable and bool(flights)

    async def _landed(self, flights: list[Flight]) -> None:
        while not all(flight.landed for flight in flights):
            await self._landing.wait()

    def _start(self, fly: Callable[[Flight], Awaitable[None]], flight: Flight) -> None:
        invariant(self._nursery is not None, "M1", "the flusher runs")
        if self._nursery is not None:
            self._nursery.start_soon(fly, flight)

    async def _fly_in_slot(self, flight: Flight) -> None:
        """The slot is taken already."""
        try:
            await self._store(flight, durable=False)
        finally:
            self._slots.release()

    async def _fly(self, flight: Flight) -> None:
        async with self._slots:
            await self._store(flight, durable=False)

    async def _fly_durably(self, flight: Flight) -> None:
        """Somebody waits for it: what is small needs no slot."""
        if flight.bytes <= INLINE_BYTES_MAX:
            await self._store(flight, durable=True)
            return
        async with self._slots:
            await self._store(flight, durable=True)

    async def _store(self, flight: Flight, *, durable: bool) -> None:
        """Send a flight until it lands, or is given up."""
        files, payload = shipment(flight)
        for tries in count(1):
            asked = self._inodes.asking()
            try:
                stored = await self._client.store(files, payload, durable=durable)
            except NoSpace:
                self.available = 0  # until somebody asks
                self._fail(flight, errno.ENOSPC)
                return
            except DwError as error:
                log.warning("a store of %d bytes failed (try %d of %d): %s", flight.bytes, tries, _TRIES_MAX, error)
                if tries == _TRIES_MAX:
                    self._fail(flight, errno.EIO)
                    return
                await trio.sleep(_TRY_PAUSE_S)
                continue
            self.available = stored.available
            self._inodes.learn(stored.inodes, asked)
            self._land(flight, stored.inodes)
            return

    def _fail(self, flight: Flight, number: int) -> None:
        """Late times alone are no loss to tell anybody of."""
        for cargo in flight.cargo:
            if len(cargo.ranges) and not self._handles.failed(cargo.file.number, number):
                log.error(
                    "%d bytes of inode %d are lost, and nobody has it open to be told: %s",
                    cargo.ranges.bytes,
                    cargo.file.number,
                    os.strerror(number),
                )
        self._land(flight, ())

    def _land(self, flight: Flight, inodes: Sequence[Inode]) -> None:
        self._dirty.land(flight, inodes)
        landing, self._landing = self._landing, trio.Event()
        landing.set()
        self._admit()
        self._wake.set()

    def _admit(self) -> None:
        """Let writers go on, in the order in which they came."""
        room = BYTES_MAX - self._dirty.weight
        while self._writers and self._writers[0].length <= room:
            writer = self._writers.popleft()
            room -= writer.length
            writer.admitted.set()

    async def _queue(self, length: int) -> None:
        writer = _Writer(length)
        self._writers.append(writer)
        self._wake.set()
        with trio.move_on_after(self._timeout):
            await writer.admitted.wait()
        if not writer.admitted.is_set():
            self._writers.remove(writer)
            raise Unreachable("the write buffer is full, and the daemon took nothing within the bound")

    async def _ask_space(self, length: int) -> None:
        self.available = expect(await self._client.call(VolumeSpace()), Space).available
        if self._dirty.unstored_bytes + length > self.available:
            raise NoSpace("the volume is full")
