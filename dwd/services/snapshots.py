"""Questions about the whole volume, answered in a thread over one state of it, while everything goes on."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, TypeAlias, TypeVar

import trio

from dwd.namespace.state import State
from dwd.namespace.store import Store
from dwd.services.consensus import Consensus
from dwd.wire.admin import Progress

_AT_ONCE: Final = 2  # questions; more wait
BEAT_EVERY: Final = 1024  # rows between two beats

T = TypeVar("T")
Beat: TypeAlias = Callable[[int], None]  # so many are done; ends the question when nobody waits for its answer
ShowProgress: TypeAlias = Callable[[Progress], None]


class Snapshots:
    """Everything that was acknowledged before a question is in its answer."""

    def __init__(self, consensus: Consensus, open_snapshot: Callable[[], AbstractContextManager[Store]]) -> None:
        self._consensus = consensus
        self._open_snapshot = open_snapshot
        self._threads = trio.CapacityLimiter(_AT_ONCE)

    async def ask(self, question: Callable[[State, Beat], T], show: ShowProgress | None = None) -> T:
        """The answer. A question calls its beat now and then."""
        await self._consensus.flush()

        def beat(done: int) -> None:
            trio.from_thread.check_cancelled()
            if show is not None:
                trio.from_thread.run_sync(show, Progress(done, 0, "rows", "metadata"))

        def answer() -> T:
            with self._open_snapshot() as store:
                return question(State(store), beat)

        return await trio.to_thread.run_sync(answer, limiter=self._threads)
