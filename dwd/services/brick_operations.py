"""What an operator makes of bricks: listed, added, drained, taken back, weighed, balanced.

Rules: what can be refused is refused before anything changes; what a crash leaves is finished by asking again. Bytes
are moved by the mover and the healer, which go by the records.
"""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import attrs
import trio
from msgspec.structs import replace

from dwd.model.errors import BadConfig, NothingToDo
from dwd.model.ids import BrickId, LogIndex
from dwd.model.topology import Standing, default_domain, parse_domain
from dwd.model.units import NS_PER_S
from dwd.namespace.records import BrickRecord
from dwd.namespace.state import State
from dwd.placement.balance import MovePlan, plan_balance
from dwd.placement.holdings import holdings
from dwd.services.brick_checks import DrainCost, check_drain, drain_cost
from dwd.services.brick_register import BrickRegister
from dwd.services.diagnosis import candidates
from dwd.services.exposure import Held, held_on
from dwd.services.moving import Mover
from dwd.services.pace import Rate
from dwd.services.snapshots import Beat, ShowProgress, Snapshots
from dwd.wire.admin import Progress
from dwd.wire.reports_bricks import BalanceReport, BrickListReport, BrickReport, BrickRow

_POLL_S: Final = 0.5
_POLL_SHARE: Final = 10  # so many times as long as a count takes is waited before the next
_BALANCE_MOVES_MAX: Final = 10_000  # of an estimate; what is beyond them is in its sums


@attrs.define(eq=False)
class BrickOperations:
    """Those that keep every byte where it can be read."""

    register: BrickRegister
    mover: Mover
    snapshots: Snapshots
    rate: Callable[[], Rate]
    mirrored_on: Callable[[], Collection[BrickId]]  # bricks with a copy of log and state store

    async def list(self) -> BrickListReport:
        """Every brick."""
        held = await self.snapshots.ask(held_on)
        rooms = self.register.bricks.measure()
        mirrors = self.mirrored_on()
        rows = []
        for record in self.register.present():
            room, holding = rooms.get(record.id), held.get(record.id, Held())
            rows.append(
                BrickRow(
                    id=record.id,
                    path=self.register.shown_path(record.id),
                    state=self.register.state(record.id),
                    standing=self.register.standing(record.id),
                    weight=record.weight,
                    domain=record.domain,
                    total=0 if room is None else room.total,
                    free=0 if room is None else room.free,
                    shards=holding.shards,
                    held=holding.bytes,
                    metadata=record.id in mirrors,
                    since=record.since // NS_PER_S,
                    evidence=self.register.evidence(record.id),
                )
            )
        return BrickListReport(bricks=tuple(rows))

    # ---- add ----

    async def add(self, folder: Path, weight: float, domain: str) -> BrickReport:
        """Take an empty or absent folder in, and begin to balance.

        Raises:
            BadConfig, VolumeMismatch, BrickFault, NoSpace: it cannot become a brick.
        """
        _check_weight(weight)
        check_absolute(folder)
        node = self.register.places.identity.node
        place = parse_domain(domain) if domain else default_domain(node)
        async with self.register.changing():
            number = self._unregistered(folder)
            if number is None:
                number = self.register.next_id()
                await trio.to_thread.run_sync(self.register.places.add_place, folder, number)
            record = BrickRecord(LogIndex(0), number, b"", node, weight, Standing.ACTIVE, place.text, "", 0)
            await self.register.take_in(record)
        self.mover.balance()
        return self._report(number, Held(), dry_run=False)

    def _unregistered(self, folder: Path) -> BrickId | None:
        """The id that an addition gave which was interrupted before the brick had its record."""
        register = self.register
        for place in register.places.identity.bricks:
            known = register.metadata.state.find_brick(place.id)
            if known is None and register.is_at(place.id, folder):
                return place.id
        return None

    # ---- drain ----

    async def drain(self, number: BrickId, *, force: bool, dry_run: bool) -> BrickReport:
        """Have everything moved off a brick.

        Raises:
            UnknownBrick: there is none.
            NotSafe: it is the last that takes anything, or what it holds has no place elsewhere.
        """
        self.register.record(number)
        known = candidates(self.register.bricks, within_reserve=True)
        cost = await self.snapshots.ask(lambda state, beat: drain_cost(state, number, known, beat))
        if not force:
            check_drain(number, cost)
        if not dry_run:
            await self._stand(number, Standing.DRAINING, "drained by an operator")
        report = self._report(number, cost.held, dry_run=dry_run)
        exposed = () if cost.exposed is None else cost.exposed.rows
        return replace(report, exposed=exposed, warning=_drain_warning(cost))

    async def take_back(self, number: BrickId, *, dry_run: bool) -> BrickReport:
        """Have a brick that drains or was ejected in service again. Raises UnknownBrick, NothingToDo."""
        if self.register.record(number).standing is Standing.ACTIVE:
            raise NothingToDo(f"brick {number} is in service")
        if not dry_run:
            await self._stand(number, Standing.ACTIVE, "")
        return self._report(number, Held((await self.register.held(number)).shards), dry_run=dry_run)

    async def _stand(self, number: BrickId, standing: Standing, note: str) -> None:
        async with self.register.changing():
            await self.register.put(replace(self.register.record(number), standing=standing, note=note))
        self.mover.wake()

    async def wait_empty(self, number: BrickId, show: ShowProgress) -> None:
        """Until no record names a brick that drains, or it does not drain any more."""
        total = 0
        while self.register.standing(number) == "draining":
            began = trio.current_time()
            held = await self.register.held(number)
            total = max(total, held.bytes)
            show(Progress(total - held.bytes, total, "bytes", f"off brick {number}"))
            if not held.shards:
                return
            await trio.sleep(max(_POLL_S, _POLL_SHARE * (trio.current_time() - began)))

    # ---- weigh, balance ----

    async def weigh(self, number: BrickId, weight: float) -> BrickReport:
        """Give a brick another share, and begin to balance. Raises UnknownBrick, BadConfig."""
        _check_weight(weight)
        self.register.record(number)
        async with self.register.changing():
            await self.register.put(replace(self.register.record(number), weight=weight))
        self.mover.balance()
        return self._report(number, Held((await self.register.held(number)).shards), dry_run=False)

    async def balance(self, *, dry_run: bool, show: ShowProgress) -> BalanceReport:
        """Bring every brick to its share."""
        known = candidates(self.register.bricks, within_reserve=False)

        def plan(state: State, _: Beat) -> MovePlan:
            held = holdings(state.segments(b"S"))
            return plan_balance(state.segments(b"S"), held, known, _BALANCE_MOVES_MAX)

        planned = await self.snapshots.ask(plan, show)
        if not dry_run:
            self.mover.balance()
        to_move = planned.bytes + planned.left
        return BalanceReport(
            dry_run=dry_run, bytes_to_move=to_move, least=planned.least, seconds=self.rate().seconds(2 * to_move)
        )

    def _report(self, number: BrickId, held: Held, *, dry_run: bool) -> BrickReport:
        return BrickReport(
            id=number,
            path=self.register.shown_path(number),
            standing=self.register.standing(number),
            weight=self.register.weight(number),
            dry_run=dry_run,
            shards=held.shards,
            bytes_to_move=held.bytes,
            seconds=self.rate().seconds(2 * held.bytes),
            warning="",
            exposed=(),
        )


def check_absolute(folder: Path) -> None:
    """Raises BadConfig: the daemon has no folder of yours to begin at."""
    if not folder.is_absolute():
        raise BadConfig(f"folder {folder}: give it from the root, beginning with /")


def _check_weight(weight: float) -> None:
    if not (math.isfinite(weight) and weight > 0):
        raise BadConfig(f"weight {weight:g}: give a number above 0; to take a brick out of service, drain it")


def _drain_warning(cost: DrainCost) -> str:
    if cost.is_last:
        return "it is the last brick that takes anything: until there is another, nothing can be written"
    return "" if cost.shortfall is None else cost.shortfall.reason
