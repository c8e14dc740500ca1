"""The records of this node's bricks and the set that serves, kept the same: what every operation on bricks is made of.

Rules: one operation at a time, and none is left half-way by a caller who goes away. A record is durable before what it
says is done.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import attrs
import trio
from msgspec.structs import replace

from dwd.codec.volume_identity import BrickPlace, VolumeIdentity
from dwd.model.errors import BadConfig, UnknownBrick
from dwd.model.ids import BrickId
from dwd.model.topology import Standing
from dwd.namespace.commands import PutBrick
from dwd.namespace.records import BrickRecord
from dwd.placement.holdings import shard_bytes
from dwd.ports import Brick
from dwd.services.bricks import Bricks, Condition
from dwd.services.exposure import Held
from dwd.services.metadata import Metadata
from dwd.services.segments import Segments
from dwd.wire.reports_bricks import ConditionName, StandingName
from dwd.wire.shown import shown_name

_POLL_S: Final = 0.05
_CHUNK: Final = 256  # segments counted before others get their turn
_STANDINGS: Final[dict[Standing, StandingName]] = {
    Standing.ACTIVE: "active",
    Standing.DRAINING: "draining",
    Standing.EJECTED: "ejected",
    Standing.REMOVED: "removed",
}
_CONDITIONS: Final[dict[Condition, ConditionName]] = {
    Condition.ONLINE: "online",
    Condition.SUSPECTED: "suspected",
    Condition.MISSING: "missing",
    Condition.FAULTED: "faulted",
    Condition.FOREIGN: "other-volume",
}


class Places(Protocol):
    """Where the bricks of this node are (dwd.adapters.brick_places). What changes something blocks."""

    @property
    def identity(self) -> VolumeIdentity:
        """As it stands now."""

    def path(self, id_: BrickId) -> Path:
        """A brick's folder. Raises BadConfig: there is no such brick here."""

    def add_place(self, path: Path, id_: BrickId) -> BrickPlace:
        """Make an absent or empty folder a brick."""

    def replace_place(self, id_: BrickId, path: Path) -> BrickPlace:
        """Let a brick be in another folder, absent or empty."""

    def drop_place(self, id_: BrickId) -> None:
        """List a brick no longer."""


@attrs.define(eq=False)
class BrickRegister:
    """One for all who change bricks."""

    metadata: Metadata
    segments: Segments
    places: Places
    open_brick: Callable[[BrickId], Brick]  # the one that is in its place now; blocks
    _changing: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    @property
    def bricks(self) -> Bricks:
        """The set that serves."""
        return self.segments.brick_set

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Nobody else changes bricks meanwhile, and whoever gives up waiting changes nothing half."""
        async with self._changing:
            with trio.CancelScope(shield=True):
                yield

    # ---- records ----

    def record(self, number: BrickId) -> BrickRecord:
        """A brick that was not removed. Raises UnknownBrick."""
        found = self.metadata.state.find_brick(number)
        if found is None or found.standing is Standing.REMOVED:
            known = ", ".join(str(record.id) for record in self.present())
            raise UnknownBrick(f"there is no brick {number}; there are {known or 'none'}")
        return found

    def present(self) -> list[BrickRecord]:
        """All that were not removed."""
        return [record for record in self.metadata.state.bricks() if record.standing is not Standing.REMOVED]

    def absent(self) -> set[BrickId]:
        """Bricks that cannot be read now."""
        here = self.bricks.online()
        return {record.id for record in self.metadata.state.bricks() if record.id not in here}

    def next_id(self) -> BrickId:
        """One that no brick ever had."""
        recorded = (record.id for record in self.metadata.state.bricks())
        placed = (place.id for place in self.places.identity.bricks)
        return BrickId(max((*recorded, *placed), default=0) + 1)

    async def put(self, record: BrickRecord) -> BrickRecord:
        """Make a record durable, and have the set heed it."""
        one = record
        await self.metadata.perform(
            PutBrick(one.id, one.uuid, one.node, one.weight, one.standing, one.domain, one.note)
        )
        await self.metadata.barrier()
        known = next(found for found in self.metadata.state.bricks() if found.id == record.id)
        if known.id in self.bricks.records():
            self.bricks.update(known)
        return known

    async def take_in(self, record: BrickRecord) -> None:
        """Open what is in a brick's place now, and have it serve under this record."""
        brick = await trio.to_thread.run_sync(self.open_brick, record.id)
        known = await self.put(replace(record, uuid=brick.uuid))
        if known.id in self.bricks.records():
            self.bricks.detach(known.id)
        self.bricks.attach(brick, known, lambda: self.open_brick(known.id))

    async def forget(self, number: BrickId) -> None:
        """A removed brick serves no more, and is not listed in the data folder. Doing it again finishes it."""
        if number in self.bricks.records():
            self.bricks.detach(number)
        if any(place.id == number for place in self.places.identity.bricks):
            await trio.to_thread.run_sync(self.places.drop_place, number)

    def is_at(self, number: BrickId, folder: Path) -> bool:
        """Whether a brick's place is this folder, by whatever path."""
        return self.places.path(number).resolve() == folder.resolve()

    # ---- what bricks hold ----

    async def held(self, number: BrickId) -> Held:
        """What records name on a brick now."""
        shards = size = 0
        for seen, segment in enumerate(self.metadata.state.segments(b"S"), 1):
            here = segment.bricks.count(number)
            shards += here
            size += here * shard_bytes(segment)
            if seen % _CHUNK == 0:
                await trio.lowlevel.checkpoint()
        return Held(shards, size)

    async def writes_ended(self, seconds: float) -> bool:
        """Wait until what is being written now is named by a record or given up; False if that takes longer."""
        begun = set(self.segments.in_flight)
        for _ in range(round(seconds / _POLL_S)):
            if not begun & self.segments.in_flight:
                break
            await trio.sleep(_POLL_S)
        return not begun & self.segments.in_flight

    # ---- as it is shown ----

    def shown_path(self, number: BrickId) -> str:
        """A brick's folder; empty when it is listed nowhere any more."""
        try:
            return shown_name(os.fsencode(self.places.path(number)))
        except BadConfig:
            return ""

    def standing(self, number: BrickId) -> StandingName:
        """What was made of it."""
        record = self.metadata.state.find_brick(number)
        return "removed" if record is None else _STANDINGS[record.standing]

    def weight(self, number: BrickId) -> float:
        """Its share of what is placed."""
        record = self.metadata.state.find_brick(number)
        return 0.0 if record is None else record.weight

    def state(self, number: BrickId) -> ConditionName:
        """How it is at the moment."""
        return _CONDITIONS[self.bricks.condition(number).condition]

    def evidence(self, number: BrickId) -> str:
        """Why it is not online, or stands as it does."""
        condition = self.bricks.condition(number)
        record = self.metadata.state.find_brick(number)
        note = "" if record is None or record.standing is Standing.ACTIVE else record.note
        return "; ".join(filter(None, (condition.evidence, note)))


def working(bricks: Bricks, number: BrickId) -> bool:
    """Whether a brick is here and nothing speaks against it."""
    return bricks.find(number) is not None and not bricks.doubtful(number)
