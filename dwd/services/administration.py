"""What the verbs answer, from the services' statistics. There is no second set of counters."""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import attrs
import trio

from dwd.codec.volume_identity import VolumeIdentity
from dwd.model.errors import BrickFault
from dwd.model.ids import BrickId
from dwd.model.units import NS_PER_S
from dwd.namespace import keys
from dwd.ports import Brick, DurableStore
from dwd.services.consensus import Consensus
from dwd.services.garbage import GarbageCollector
from dwd.services.metadata import Metadata
from dwd.services.mounts import Mounts
from dwd.services.orphans import Orphanage
from dwd.services.repacker import Repacker
from dwd.services.segments import Segments
from dwd.services.space import SpaceKeeper
from dwd.wire.reports import (
    BrickStatus,
    LogStatus,
    MountStatus,
    SegmentsStatus,
    SpaceStatus,
    StatisticsReport,
    StatusReport,
    VolumeReport,
)
from dwd.wire.shown import shown_name

_COUNT_ROWS_MAX: Final = 100_000  # segments counted for status; more are shown as this many
_FORMATS: Final = {"identity": 1, "superblock": 1, "shard": 1, "wal": 1, "store": 1, "commands": 1}


@attrs.frozen
class NodeFacts:
    """What does not change while the daemon runs."""

    identity: VolumeIdentity
    version: str
    pid: int
    brick_paths: Mapping[BrickId, str]
    started: float  # trio's clock
    wal_bytes: Callable[[], int]


@attrs.define
class Administration:
    """Reads every service."""

    facts: NodeFacts
    consensus: Consensus
    metadata: Metadata
    segments: Segments
    space: SpaceKeeper
    mounts: Mounts
    orphans: Orphanage
    garbage: GarbageCollector
    repacker: Repacker
    store: DurableStore
    stopping: bool = False

    def status(self) -> StatusReport:
        """The daemon and its volume at one look."""
        bricks = tuple(self._brick(number, path) for number, path in self.facts.brick_paths.items())
        problems = tuple(f"brick {b.id} ({b.path}) is {b.state}: bring it back" for b in bricks if b.state != "online")
        state: Literal["serving", "degraded", "stopping"] = "degraded" if problems else "serving"
        log = self.consensus.statistics()
        volume = self.metadata.state.volume
        return StatusReport(
            state="stopping" if self.stopping else state,
            volume=self.facts.identity.volume.hex(),
            version=self.facts.version,
            pid=self.facts.pid,
            epoch=self.metadata.epoch,
            uptime_s=trio.current_time() - self.facts.started,
            protection=self.facts.identity.protection.name,
            space=self._space(),
            inodes=volume.inodes,
            inline_bytes=volume.inline_bytes,
            segments=self._segments(),
            log=LogStatus(
                term=log.term,
                commit=log.committed,
                applied=log.applied,
                durable=log.durable,
                wal_bytes=self.facts.wal_bytes(),
            ),
            bricks=bricks,
            mounts=tuple(
                MountStatus(
                    label=shown_name(m.label.encode()), session=m.session.hex(), pid=m.pid, exclusive=m.exclusive
                )
                for m in self.mounts.all()
                if m.peer is not None
            ),
            findings=len(problems),
            problems=problems,
        )

    def _space(self) -> SpaceStatus:
        available = self.space.room().available
        used = self.metadata.state.volume.used
        return SpaceStatus(total=used + available, available=available, used=used)

    def _brick(self, number: BrickId, path: str) -> BrickStatus:
        brick: Brick | None = self.segments.bricks.get(number)
        if brick is None:
            return BrickStatus(id=number, path=path, state="missing", total=0, free=0)
        try:
            space = brick.space()
        except BrickFault:
            return BrickStatus(id=number, path=path, state="faulted", total=0, free=0)
        return BrickStatus(id=number, path=path, state="online", total=space.total, free=space.free)

    def _segments(self) -> SegmentsStatus:
        store = self.metadata.state.store
        live = sum(1 for _ in store.range(*keys.table(b"S"), _COUNT_ROWS_MAX))
        dead = sum(1 for _ in store.range(*keys.table(b"G"), _COUNT_ROWS_MAX))
        return SegmentsStatus(live=live, dead=dead, bytes=self.metadata.state.volume.stored_bytes)

    def statistics(self, component: str) -> StatisticsReport:
        """Every counter, as component.name."""
        parts: dict[str, attrs.AttrsInstance] = {
            "log": self.consensus.statistics(),
            "store": self.store.statistics(),
            "segments": self.segments.counters,
            "space": self.space.room(),
        }
        values: dict[str, int | float] = {
            "orphans.waiting": len(self.orphans),
            "orphans.reaped": self.orphans.reaped,
            "garbage.segments_removed": self.garbage.segments_removed,
            "garbage.strays_removed": self.garbage.strays_removed,
            "repacker.segments_written": self.repacker.segments_written,
            "repacker.bytes_moved": self.repacker.bytes_moved,
        }
        for name, snapshot in parts.items():
            for field in attrs.fields(type(snapshot)):
                value = getattr(snapshot, field.name)
                if isinstance(value, int | float):
                    values[f"{name}.{field.name}"] = value
        chosen = {n: v for n, v in sorted(values.items()) if not component or n.split(".", 1)[0] == component}
        return StatisticsReport(values=chosen)

    def volume(self) -> VolumeReport:
        """What the volume was made as."""
        return VolumeReport(
            id=self.facts.identity.volume.hex(),
            created=self.facts.identity.created // NS_PER_S,
            protection=self.facts.identity.protection.name,
            formats=_FORMATS,
            bricks=tuple(self.facts.brick_paths.values()),
        )
