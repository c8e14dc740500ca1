"""Call bricks in worker threads that may be left behind: a disk that hangs costs its thread, and nobody waits.

Rules: every outcome is reported to Bricks. A write that is given up removes its own file when it ends; until
then nothing else is written to that brick, so that it removes nobody else's.
"""

import errno
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from time import perf_counter
from typing import Final, TypeVar

import trio

from dwd.ec.layout import ShardRange
from dwd.ec.segment_image import ShardImage
from dwd.model.errors import BrickFault, CorruptShard, DwError, FormatTooNew
from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.ports import Brick
from dwd.services.bricks import Bricks

_T = TypeVar("_T")

_CALLS_MAX: Final = 16  # that somebody waits for; the next ones wait for these
_UNBOUNDED: Final = trio.CapacityLimiter(float("inf"))  # threads left behind: none is begun on a brick that is late


UNREADABLE: Final = (CorruptShard, BrickFault, FormatTooNew)  # what reading a shard may raise


class _Fate(Enum):
    WAITING = auto()  # for its thread
    RUNNING = auto()
    ENDED = auto()
    GIVEN_UP = auto()


class ShardWrite:
    """One shard on its way to one brick. Its thread and the one who waits agree on its fate under a lock."""

    def __init__(self, brick: Brick, segment: SegmentId, index: ShardIndex, *, replaces: bool = False) -> None:
        self.brick = brick
        self.segment = segment
        self.index = index
        self._replaces = replaces  # what lies there is removed first
        self.failure: DwError | None = None
        self._began: float | None = None
        self._ended: float | None = None
        self._fate = _Fate.WAITING
        self._lock = threading.Lock()

    @property
    def stored(self) -> bool:
        """Whether the shard is durable on its brick."""
        return self._fate is _Fate.ENDED and self.failure is None

    @property
    def seconds(self) -> float | None:
        """What the brick took, or has taken until now; None: it was not asked."""
        if self._began is None:
            return None
        return (perf_counter() if self._ended is None else self._ended) - self._began

    def perform(self, image: ShardImage, when_late: Callable[[], None]) -> None:
        """In the thread: write; if nobody waits any more, remove the file and call `when_late`."""
        with self._lock:
            if self._fate is _Fate.GIVEN_UP:
                return  # before it began
            self._fate = _Fate.RUNNING
        self._began = perf_counter()
        try:
            if self._replaces:
                self.brick.remove_shard(self.segment, self.index)
            self.brick.write_shard(self.segment, self.index, image)
        except DwError as failure:
            self.failure = failure
        self._ended = perf_counter()
        with self._lock:
            late = self._fate is _Fate.GIVEN_UP
            self._fate = _Fate.ENDED
        if late:
            if self.failure is None:
                with suppress(BrickFault):
                    self.brick.remove_shard(self.segment, self.index)
                self.failure = BrickFault(f"brick {self.brick.id} took too long to write a shard")
            when_late()

    def give_up(self) -> bool:
        """Wait no longer; whether the thread is still in it."""
        with self._lock:
            running = self._fate is _Fate.RUNNING
            if self._fate is not _Fate.ENDED:
                self._fate = _Fate.GIVEN_UP
        return running


class ShardRead:
    """A range of a shard that a brick was asked for."""

    def __init__(self, brick: Brick, segment: SegmentId, part: ShardRange) -> None:
        self.brick = brick
        self.segment = segment
        self.part = part
        self.found: bytes | None = None
        self.failure: CorruptShard | BrickFault | FormatTooNew | None = None
        self.given_up = False  # nobody waits for the thread: it is to set `answered`
        self.answered = trio.Event()

    @property
    def ended(self) -> bool:
        """Whether there is an answer."""
        return self.found is not None or self.failure is not None

    def perform(self, token: trio.lowlevel.TrioToken) -> None:
        """In the thread."""
        part = self.part
        try:
            self.found = _read_waiting(self.brick, self.segment, part.index, part.offset, part.length)
        except UNREADABLE as failure:
            self.failure = failure
        if self.given_up:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self.answered.set)


class BrickCalls:
    """All reading and writing of shards goes through here."""

    def __init__(self, bricks: Bricks) -> None:
        self._bricks = bricks
        self._calls = trio.CapacityLimiter(_CALLS_MAX)

    async def call(self, brick: Brick, function: Callable[[], _T], *, timed: bool = False) -> _T:
        """Perform something on a brick in a thread. Cancelled, it leaves the thread behind.

        `timed`: it is a read, whose time tells how fast the brick is.

        Raises:
            What the function raises.
        """
        async with self._calls:
            began = trio.current_time()
            failure: DwError | None = None
            try:
                return await trio.to_thread.run_sync(function, limiter=_UNBOUNDED, abandon_on_cancel=True)
            except DwError as raised:
                failure = raised
                raise
            finally:
                self._bricks.report(brick.id, trio.current_time() - began if timed else None, failure)

    async def compute(self, function: Callable[[], _T]) -> _T:
        """Perform something that no disk can stall in a thread."""
        return await trio.to_thread.run_sync(function, limiter=self._calls)

    async def read(self, brick: Brick, segment: SegmentId, index: ShardIndex, offset: int, length: int) -> bytes:
        """A verified range of a shard's body. Raises as Brick.read does."""
        return await self.call(brick, lambda: _read_waiting(brick, segment, index, offset, length), timed=True)

    async def ask(self, asked: ShardRead, patience_s: float) -> float:
        """Perform a read; the seconds it took. After `patience_s` its answer comes later, if ever."""
        async with self._calls:
            began = trio.current_time()
            with trio.move_on_after(patience_s):
                await trio.to_thread.run_sync(
                    asked.perform, trio.lowlevel.current_trio_token(), limiter=_UNBOUNDED, abandon_on_cancel=True
                )
            asked.given_up = True
            seconds = trio.current_time() - began
        self._bricks.report(asked.brick.id, seconds, asked.failure)
        return seconds

    async def perform(self, work: Callable[[], None], patience_s: float) -> None:
        """Perform something in a thread that reports of bricks itself; after `patience_s` it is left behind."""
        async with self._calls:
            with trio.move_on_after(patience_s):
                await trio.to_thread.run_sync(work, limiter=_UNBOUNDED, abandon_on_cancel=True)

    async def write(self, write: ShardWrite, image: ShardImage) -> None:
        """Write a shard; what came of it is in `write`, also after a deadline has cancelled this."""
        when_late = self.when_late(write)
        async with self._calls:
            try:
                await trio.to_thread.run_sync(
                    write.perform, image, when_late, limiter=_UNBOUNDED, abandon_on_cancel=True
                )
            finally:
                self.end(write)

    def when_late(self, write: ShardWrite) -> Callable[[], None]:
        """What the thread of a write calls when nobody waits for it any more."""
        token = trio.lowlevel.current_trio_token()
        number = write.brick.id

        def tell() -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._bricks.write_ended, number)

        return tell

    def end(self, write: ShardWrite) -> None:
        """Wait no longer for a write, which ended or not, or was never begun."""
        if write.give_up():
            self._bricks.write_is_late(write.brick.id)
        if write.seconds is not None:
            self._bricks.report(write.brick.id, write.seconds, write.failure)

    def note(self, number: BrickId, seconds: float) -> None:
        """A brick answered, or kept a thread waiting, for so long."""
        self._bricks.report(number, seconds, None)


def _read_waiting(brick: Brick, segment: SegmentId, index: ShardIndex, offset: int, length: int) -> bytes:
    data = brick.read(segment, index, offset, length, wait=True)
    if data is None:
        raise BrickFault(f"brick {brick.id} gave no answer: {errno.errorcode[errno.EIO]}")
    return data
