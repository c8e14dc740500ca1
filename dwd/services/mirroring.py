"""Keep the metadata mirrored on as many bricks as it should be: look every now and then, and take the steps.

One step at a time, and no more than one snapshot is written at a time: mirrors must not slow down what they mirror.
"""

from typing import Final

import trio

from dwd.model.ids import BrickId
from dwd.ports import Mirrors
from dwd.services.consensus import Consensus

_PERIOD_S: Final = 2.0


class Mirroring:
    """The task that owns the mirrors."""

    def __init__(self, consensus: Consensus, mirrors: Mirrors) -> None:
        self._consensus = consensus
        self._mirrors = mirrors

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self.turn()
            await trio.sleep(_PERIOD_S)

    async def turn(self) -> None:
        """Look once, and do what is due."""
        plan = await trio.to_thread.run_sync(self._mirrors.survey)
        for brick in plan.leave:
            self._mirrors.leave(brick)
        for brick in plan.join:
            await self._join(brick)
        for brick in plan.renew:
            await self._renew(brick)

    async def _join(self, brick: BrickId) -> None:
        self._mirrors.begin_joining(brick, self._consensus.cut())
        if not await trio.to_thread.run_sync(self._mirrors.fill, brick):
            return
        if not self._mirrors.follow(brick):
            return
        await self._consensus.flush()
        await trio.to_thread.run_sync(self._mirrors.admit, brick)

    async def _renew(self, brick: BrickId) -> None:
        position = await self._consensus.settle()
        await trio.to_thread.run_sync(self._mirrors.renew, brick, position)
