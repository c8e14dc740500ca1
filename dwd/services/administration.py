"""What the verbs answer, from the services' statistics. There is no second set of counters."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import attrs
import trio

from dwd.codec.volume_identity import VolumeIdentity
from dwd.model.units import NS_PER_S
from dwd.namespace import keys
from dwd.ports import DurableStore
from dwd.services.brick_register import BrickRegister
from dwd.services.consensus import Consensus
from dwd.services.garbage import GarbageCollector
from dwd.services.healing import Healer
from dwd.services.healing_tally import HealingStatus as HealerStatus
from dwd.services.metadata import Metadata
from dwd.services.mounts import Mounts
from dwd.services.orphans import Orphanage
from dwd.services.protecting import Protecting
from dwd.services.repacker import Repacker
from dwd.services.segments import Segments
from dwd.services.space import SpaceKeeper
from dwd.wire.reports import (
    BrickStatus,
    HealingStatus,
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
    started: float  # trio's clock
    wal_bytes: Callable[[], int]
    metadata_problems: Callable[[], tuple[str, ...]]  # of its mirrors


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
    register: BrickRegister
    protecting: Protecting
    healer: Healer
    stopping: bool = False

    def status(self) -> StatusReport:
        """The daemon and its volume at one look."""
        bricks, healing, conversions = self._bricks(), self._healing(), self.protecting.conversions()
        now = self.protecting.now(self.facts.identity.protection).name
        problems = (
            *self.facts.metadata_problems(),
            *_brick_problems(bricks),
            *_mode_problems(self.facts.identity.protection.name, now),
            *_healing_problems(healing),
            *(f"the conversion of {one.path} waits: {one.problem}" for one in conversions if one.problem),
        )
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
            protection_now=now,
            healing=healing,
            conversions=conversions,
        )

    def _space(self) -> SpaceStatus:
        available = self.space.room().available
        used = self.metadata.state.volume.used
        return SpaceStatus(total=used + available, available=available, used=used)

    def _bricks(self) -> tuple[BrickStatus, ...]:
        register = self.register
        rooms = register.bricks.measure()
        return tuple(
            BrickStatus(
                id=record.id,
                path=register.shown_path(record.id),
                state=register.state(record.id),
                total=rooms[record.id].total if record.id in rooms else 0,
                free=rooms[record.id].free if record.id in rooms else 0,
                standing=register.standing(record.id),
                evidence=register.evidence(record.id),
            )
            for record in register.present()
        )

    def _healing(self) -> HealingStatus:
        return shown_healing(self.healer.status())

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
            bricks=tuple(self.register.shown_path(record.id) for record in self.register.present()),
        )


def shown_healing(healing: HealerStatus) -> HealingStatus:
    """What status and heal status say of it."""
    return HealingStatus(
        state=healing.state,
        degraded=healing.waiting_segments,
        zero_margin=healing.zero_margin,
        lost=healing.lost,
        at_fallback=healing.fallback,
        waiting=healing.no_brick,
        bytes_left=healing.bytes_left,
        seconds_left=healing.eta_s,
        damaged=healing.mending.waiting + healing.mending.stuck,
        problem=healing.problem,
    )


def _brick_problems(bricks: Iterable[BrickStatus]) -> Iterator[str]:
    for brick in bricks:
        why = f": {brick.evidence}" if brick.evidence else ""
        if brick.state != "online":
            yield f"brick {brick.id} ({brick.path}) is {brick.state}{why}; bring it back, or replace it"
        elif brick.standing == "ejected":
            yield f"brick {brick.id} ({brick.path}) is ejected{why}; replace it"


def _mode_problems(wanted: str, now: str) -> Iterator[str]:
    if wanted != now:
        yield f"what is written gets {now}, for the bricks are too few for {wanted}: bring bricks back, or add some"


def _healing_problems(healing: HealingStatus) -> Iterator[str]:
    if healing.lost:
        yield f"{healing.lost} segments cannot be read: bring the missing bricks back (`dwd what-if lose`, `dwd fsck`)"
    if healing.zero_margin:
        yield f"{healing.zero_margin} segments have no margin: the next loss takes bytes"
    if healing.degraded:
        waiting = f"; {healing.waiting} shards wait for a brick: add or replace one" if healing.waiting else ""
        yield f"{healing.degraded} segments are below their protection, and are being healed{waiting}"
    if healing.damaged:
        why = f": {healing.problem}" if healing.problem else ""
        yield f"{healing.damaged} segments have damaged shards that are not mended yet{why}"
    if healing.at_fallback:
        yield f"{healing.at_fallback} segments have less than their protection until there are bricks for it: add some"
