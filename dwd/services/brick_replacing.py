"""Give up what a brick holds: another folder takes its place, or it is removed.

Rules: a brick that works gives nothing up that no other bricks could give: it is drained first. Its old folder stays
as it is. What a crash leaves is finished by asking again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import trio
from msgspec.structs import replace

from dwd.model.errors import BrickFault, BrickInUse, NotSafe, Overloaded
from dwd.model.ids import BrickId
from dwd.model.topology import Standing
from dwd.ports import BrickSpace
from dwd.services.brick_checks import LossCost, check_removal, check_replacement, check_room, loss_cost, worst
from dwd.services.brick_operations import check_absolute
from dwd.services.brick_register import BrickRegister, working
from dwd.services.census import shards_on
from dwd.services.exposure import Exposed, Held
from dwd.services.healing import Healer
from dwd.services.moving import Mover
from dwd.services.pace import Rate
from dwd.services.snapshots import ShowProgress, Snapshots
from dwd.wire.admin import Progress
from dwd.wire.reports_bricks import BrickReport

_WRITES_S_MAX: Final = 30.0  # refuse: writes that had begun do not end
_POLL_S: Final = 0.5
_IDLE_S_MAX: Final = 30.0  # that healing may rest before it counts as done with what it can do


@attrs.define(eq=False)
class BrickReplacing:
    """The two operations."""

    register: BrickRegister
    mover: Mover
    healer: Healer
    snapshots: Snapshots
    room_of: Callable[[Path], BrickSpace]  # of a folder that may be absent; blocks
    rate: Callable[[], Rate]

    async def replace(self, number: BrickId, folder: Path, *, force: bool, dry_run: bool) -> BrickReport:
        """Let an empty folder take the place of a brick; its shards are then computed from the others.

        Raises:
            UnknownBrick: there is none.
            BrickInUse, NotSafe: it works, or has bytes that no other brick has.
            TooSmall: the folder has less room than what the brick holds.
            BadConfig, VolumeMismatch, BrickFault, NoSpace: the folder cannot become a brick.
        """
        check_absolute(folder)
        self.register.record(number)
        async with self.register.changing():
            begun = await self._has_begun(number, folder)
            cost = await self._cost(number)
            if not begun:
                check_replacement(number, cost, works=working(self.register.bricks, number), force=force)
                check_room(number, cost.held, (await trio.to_thread.run_sync(self.room_of, folder)).free)
            if not dry_run:
                if not begun:
                    await self._exchange(number, folder)
                record = self.register.record(number)
                await self.register.take_in(replace(record, standing=Standing.ACTIVE, note="replaced"))
                self.mover.balance()
        return self._report(number, cost, dry_run=dry_run)

    async def _has_begun(self, number: BrickId, folder: Path) -> bool:
        """Whether this was interrupted before the record knew. Raises BrickInUse: the folder is the brick itself."""
        register = self.register
        if not register.is_at(number, folder):
            return False
        try:
            brick = await trio.to_thread.run_sync(register.open_brick, number)
        except BrickFault:
            return False  # its disk is gone or another, empty one is mounted there: the place is the same
        uuid = brick.uuid
        brick.close()
        if register.record(number).uuid in {uuid, b""}:  # nothing: it is not registered yet, and this is it
            raise BrickInUse(f"{folder} is brick {number} itself: name another folder")
        return True

    async def _exchange(self, number: BrickId, folder: Path) -> None:
        """Raises Overloaded, and what replace_place() raises; the brick is then written as before."""
        bricks = self.register.bricks
        record = bricks.records()[number]
        bricks.update(replace(record, weight=0.0))  # nothing new goes there, and what goes there now is named
        try:
            await self._await_writes(number)
            await trio.to_thread.run_sync(self.register.places.replace_place, number, folder)
        finally:
            bricks.update(record)

    async def _await_writes(self, number: BrickId) -> None:
        if not await self.register.writes_ended(_WRITES_S_MAX):
            raise Overloaded(f"writes that may be for brick {number} have not ended for {_WRITES_S_MAX:.0f} s")

    async def wait_rebuilt(self, number: BrickId, show: ShowProgress) -> None:
        """Until a brick has what the records name there, or healing has nothing that it could do about it."""
        idle_since = trio.current_time()
        while (brick := self.register.bricks.find(number)) is not None:
            there, held = 0, await self.register.held(number)
            async for piece in shards_on(brick):
                there += len(piece)
            show(Progress(min(there, held.shards), held.shards, "shards", f"on brick {number}"))
            if self.healer.status().state == "healing":
                idle_since = trio.current_time()
            if there >= held.shards or trio.current_time() - idle_since > _IDLE_S_MAX:
                return
            await trio.sleep(_POLL_S)

    async def remove(self, number: BrickId, *, force: bool, dry_run: bool) -> BrickReport:
        """Forget a brick; its folder stays as it is.

        Raises:
            UnknownBrick: there is none.
            BrickInUse: it holds something, or is in service.
            NotSafe: it is the last.
        """
        async with self.register.changing():
            if self._is_half_removed(number):
                await self.register.forget(number)
                return self._report(number, LossCost(Held(), Exposed((), 0, 0, 0, 0)), dry_run=False)
            record = self.register.record(number)
            if len(self.register.present()) == 1:
                raise NotSafe(f"brick {number} is the last of the volume: add another first")
            if not force:
                await self._await_writes(number)
            cost = await self._cost(number)
            serves = record.standing is Standing.ACTIVE and self.register.bricks.find(number) is not None
            check_removal(number, cost, is_in_service=serves, force=force)
            report = self._report(number, cost, dry_run=dry_run)
            if dry_run:
                return report
            await self.register.put(replace(record, standing=Standing.REMOVED, note="removed by an operator"))
            await self.register.forget(number)
        self.mover.wake()
        return replace(report, standing="removed")

    def _is_half_removed(self, number: BrickId) -> bool:
        """Whether a removal was interrupted when the record knew, and the data folder did not."""
        places = self.register.places.identity.bricks
        return self.register.standing(number) == "removed" and any(place.id == number for place in places)

    async def _cost(self, number: BrickId) -> LossCost:
        absent, bad = self.register.absent(), self.healer.bad_shards()
        return await self.snapshots.ask(lambda state, beat: loss_cost(state, number, absent, bad, beat))

    def _report(self, number: BrickId, cost: LossCost, *, dry_run: bool) -> BrickReport:
        return BrickReport(
            id=number,
            path=self.register.shown_path(number),
            standing=self.register.standing(number),
            weight=self.register.weight(number),
            dry_run=dry_run,
            shards=cost.held.shards,
            bytes_to_move=cost.held.bytes,
            seconds=self.rate().seconds(cost.exposed.touched_bytes),
            warning=f"without what it holds, {worst(cost.exposed)}" if cost.held.shards else "",
            exposed=cost.exposed.rows,
        )
