"""A plant with a data folder and the services that an operator talks to."""

from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from dwd.adapters.brick_directory import BrickDirectory, open_brick
from dwd.adapters.brick_places import BrickPlaces
from dwd.adapters.data_folder import DataFolder
from dwd.adapters.folder_room import room_of
from dwd.codec.volume_identity import BrickPlace, VolumeIdentity
from dwd.gateways.admin import Served
from dwd.model.ids import BrickId, NodeId
from dwd.model.protection import Protection
from dwd.services import pace
from dwd.services.administration import Administration
from dwd.services.brick_operations import BrickOperations
from dwd.services.brick_register import BrickRegister
from dwd.services.brick_replacing import BrickReplacing
from dwd.services.consensus import Consensus
from dwd.services.fsck import Fsck
from dwd.services.protecting import Protecting
from dwd.services.questions import Questions
from dwd.services.snapshots import Snapshots
from dwd.serving import Answering, served
from dwd.wire.admin import Progress
from dwd.wire.reports import Report
from dwd.wire.verb import Request
from tests.unit.services.plant import VOLUME, Plant

RS = Protection(4, 2)
R = TypeVar("R", bound=Report)


class FlushedConsensus:
    """A consensus whose store is always up to date."""

    async def flush(self) -> None:
        """Nothing waits."""


class Office:
    """Everything that verbs ask for, over real brick folders."""

    def __init__(self, folder: Path, bricks: int = 6, protection: Protection = RS) -> None:
        self.plant = plant = Plant(folder / "bricks", bricks, protection)
        self.shown: list[Progress] = []
        (folder / "data").mkdir()
        self.data = DataFolder.open(folder / "data")
        places = tuple(BrickPlace(BrickId(n), str(plant.path(n))) for n in range(1, bricks + 1))
        identity = VolumeIdentity(VOLUME, NodeId(1), 1, protection, places, made=True)
        self.data.put_identity(identity)
        self.places = BrickPlaces(self.data, identity, lambda _: None)
        snapshots = Snapshots(cast("Consensus", FlushedConsensus()), plant.snapshot)
        rate = partial(pace.rate, plant.pacer, plant.healer)
        self.register = BrickRegister(plant.metadata, plant.segments, self.places, self.open)
        self.bricks = BrickOperations(self.register, plant.mover, snapshots, rate, lambda: {BrickId(1)})
        self.replacing = BrickReplacing(self.register, plant.mover, plant.healer, snapshots, room_of, rate)
        self.questions = Questions(self.register, plant.healer, snapshots, rate)
        self.protecting = Protecting(self.register, plant.converter, snapshots, protection, rate)
        self.stopped = False
        answering = Answering(
            cast("Administration", None),
            cast("Fsck", None),
            self.bricks,
            self.replacing,
            self.questions,
            self.protecting,
            plant.scrubber,
            plant.healer,
            plant.mover,
            plant.pacer,
        )
        self.served: dict[str, Served] = {one.verb.name: one for one in served(answering, self._stop)}

    def _stop(self) -> None:
        self.stopped = True

    def open(self, number: BrickId) -> BrickDirectory:
        """The brick that is in its place now."""
        return open_brick(self.places.path(number), VOLUME, number)

    async def ask(self, report: type[R], verb: str, request: Request) -> R:
        """What a handler answers to what came over the wire."""
        found = await self.served[verb].perform(msgspec.Raw(msgspec.msgpack.encode(request)), self.shown.append)
        assert isinstance(found, report)
        assert self.served[verb].verb.report is report
        return found
