"""A volume on real brick folders, its namespace in memory: what works in the background, and ways to harm it."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import trio

from dwd.adapters.brick_directory import BrickDirectory, create_brick, open_brick
from dwd.model.ids import ROOT, BrickId, Epoch, InodeNumber, LogIndex, NodeId, SegmentId, ShardIndex, VolumeId
from dwd.model.protection import Protection
from dwd.model.segment import Segment
from dwd.model.topology import Standing, default_domain
from dwd.model.units import KIB
from dwd.namespace.apply import apply
from dwd.namespace.commands import (
    Command,
    FileData,
    MakeNode,
    MakeVolume,
    OpenEpoch,
    PutBrick,
    StoreData,
)
from dwd.namespace.outcomes import Outcome
from dwd.namespace.policies import effective
from dwd.namespace.queries import extents_within
from dwd.namespace.state import State
from dwd.namespace.store import Store
from dwd.namespace.store_memory import MemoryStore
from dwd.services.bricks import Bricks
from dwd.services.claims import Claims
from dwd.services.consensus import Consensus
from dwd.services.converting import Converter
from dwd.services.garbage import GarbageCollector
from dwd.services.healing import Healer
from dwd.services.metadata import Metadata
from dwd.services.moving import Mover
from dwd.services.pacing import Budget, Pacer
from dwd.services.refitting import Refitter
from dwd.services.rehousing import Rehousing
from dwd.services.repacker import Repacker
from dwd.services.scrub import Scrubber
from dwd.services.segments import Segments, new_buffer
from dwd.services.space import SpaceKeeper

VOLUME = VolumeId(b"v" * 16)
FILE, DIRECTORY = 0o100644, 0o040755
LENGTH = 4 * 20 * KIB
GRACE_S = 600.0
FOUR_TWO = Protection(4, 2)
_DOMAIN = default_domain(NodeId(1)).text


class DirectLog:
    """What Metadata asks of Consensus: commands are applied at the pump, and durable at once."""

    is_durable = True
    is_behind = False

    def __init__(self, state: State) -> None:
        self._state = state
        self._index = 0
        self._batch: list[tuple[Command, Callable[[Outcome], None]]] = []
        self.before: Callable[[Command], None] = lambda _: None  # a test's chance to be quicker

    def submit(self, command: Command, done: Callable[[Outcome], None]) -> None:
        """Keep it."""
        self._batch.append((command, done))

    def pump(self) -> None:
        """Apply all."""
        batch, self._batch = self._batch, []
        for command, done in batch:
            self.before(command)
            self._index += 1
            done(apply(self._state, LogIndex(self._index), command))

    def when_durable(self, done: Callable[[], None]) -> None:
        """Now."""
        done()

    async def barrier(self) -> None:
        """Nothing to wait for."""
        await trio.lowlevel.checkpoint()


class TrioClock:
    """The time of day, on trio's clock."""

    def now_ns(self) -> int:
        """From the year 2033 on."""
        return 2_000_000_000_000_000_000 + round(trio.current_time() * 1e9)


class NoSpaceKeeper:
    """What the collector tells that something was freed."""

    def forget(self) -> None:
        """Nothing is measured."""


class Plant:
    """Bricks 1 to n, and every service over them; nothing runs unless a test runs it."""

    def __init__(self, folder: Path, bricks: int = 6, protection: Protection = FOUR_TWO) -> None:
        self.folder = folder
        self.state = State(MemoryStore())
        self.log = DirectLog(self.state)
        self.metadata = Metadata(cast("Consensus", self.log), self.state, TrioClock())
        self.bricks = Bricks()
        self.segments = Segments(VOLUME, self.bricks, protection)
        self.do(MakeVolume(7, 0, 0, 0o755))
        self.do(OpenEpoch())
        self.metadata.epoch = Epoch(1)
        self.model: dict[InodeNumber, bytes] = {}
        for number in range(1, bricks + 1):
            self.add_brick(number)
        self.restart()

    def restart(self) -> None:
        """New services over the same state and bricks: what a kill leaves."""
        self.pacer = Pacer(Budget(), lambda: 0)
        self.claims = Claims()
        self.segments.in_flight.clear()
        self.rehousing = Rehousing(self.metadata, self.segments, self.claims, self.pacer)
        self.repacker = Repacker(self.metadata, self.segments)
        self.healer = Healer(self.metadata, self.segments, self.rehousing, self.repacker, grace_s=GRACE_S)
        self.segments.on_damage = self.healer.damaged
        self.mover = Mover(self.metadata, self.segments, self.rehousing)
        self.refitter = Refitter(self.metadata, self.segments, self.repacker, self.pacer)
        self.scrubber = Scrubber(self.metadata, self.segments, self.refitter, self.pacer, TrioClock())
        space = cast("SpaceKeeper", NoSpaceKeeper())
        self.garbage = GarbageCollector(self.metadata, self.segments, space, self.claims)
        self.converter = Converter(self.metadata, self.segments, self.repacker, self.pacer, self.snapshot)

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        """The store itself: nothing changes while a test looks."""
        yield self.state.store

    def do(self, operation: object) -> Outcome:
        """Apply an operation now."""
        outcomes: list[Outcome] = []
        self.metadata.submit(operation, outcomes.append)  # type: ignore[arg-type]
        self.metadata.pump()
        return outcomes[0]

    # Bricks

    def path(self, number: int) -> Path:
        """A brick's folder."""
        return self.folder / str(number)

    def add_brick(self, number: int, weight: float = 1.0) -> None:
        """Make a brick and let it take part."""
        brick = create_brick(self.path(number), VOLUME, BrickId(number))
        self.do(PutBrick(BrickId(number), brick.uuid, NodeId(1), weight, Standing.ACTIVE, _DOMAIN, ""))
        self._attach(brick)

    def _attach(self, brick: BrickDirectory) -> None:
        record = self.state.find_brick(brick.id)
        assert record is not None
        self.bricks.attach(brick, record, lambda: open_brick(self.path(brick.id), VOLUME, brick.id))

    def stand(self, number: int, standing: Standing, weight: float = 1.0) -> None:
        """Say how a brick stands."""
        record = self.state.find_brick(BrickId(number))
        assert record is not None
        self.do(PutBrick(record.id, record.uuid, record.node, weight, standing, record.domain, ""))
        changed = self.state.find_brick(record.id)
        assert changed is not None
        self.bricks.update(changed)

    async def hide(self, number: int) -> None:
        """Take a brick's folder away, and see that it is missed."""
        self.path(number).rename(self.folder / f"hidden-{number}")
        assert not await self.bricks.inspect(BrickId(number))

    async def bring_back(self, number: int) -> None:
        """Put it where it was."""
        (self.folder / f"hidden-{number}").rename(self.path(number))
        assert await self.bricks.inspect(BrickId(number))

    async def destroy(self, number: int) -> None:
        """Lose a brick, and say that it will not be back."""
        shutil.rmtree(self.path(number))
        assert not await self.bricks.inspect(BrickId(number))
        self.stand(number, Standing.REMOVED)

    # Shards

    def shard(self, segment: SegmentId, index: int, brick: int | None = None) -> Path:
        """The file of a shard, by default where the record says that it is."""
        record = self.state.find_segment(segment)
        assert record is not None
        number = record.bricks[index] if brick is None else brick
        return self.path(number) / "shards" / f"{segment % 256:02x}" / f"{segment:016x}.{index}"

    def changes(self) -> dict[Path, int]:
        """When each shard file that there is was changed last."""
        return {path: path.stat().st_ctime_ns for path in self.folder.rglob("shards/*/*")}

    def files(self) -> set[tuple[int, SegmentId, ShardIndex]]:
        """Every shard file there is."""
        here = self.bricks.online().items()
        return {(number, segment, index) for number, brick in here for segment, index in brick.list_shards()}

    def named(self) -> set[tuple[int, SegmentId, ShardIndex]]:
        """Every shard file that there should be, on bricks that are here."""
        return {
            (brick, segment.id, ShardIndex(index))
            for segment in self.state.segments(b"S")
            for index, brick in enumerate(segment.bricks)
            if brick in self.bricks.online()
        }

    async def problems(self) -> int:
        """Shards that cannot be read."""
        return sum([len(await self.segments.verify(segment)) for segment in self.state.segments(b"S")])

    # Files

    def make(self, name: bytes, parent: InodeNumber = ROOT, mode: int = FILE) -> InodeNumber:
        """Make a file or directory."""
        number = InodeNumber(self.state.volume.next_number)
        self.do(MakeNode(parent, name, number, mode, 0, 0))
        return number

    async def write(self, number: InodeNumber, length: int = LENGTH, offset: int = 0) -> Segment:
        """Store bytes of a file in a segment of their own."""
        data = random.Random(self.state.index).randbytes(length)
        segment = await self.store(number, data, offset)
        self.model[number] = self.model.get(number, b"")[:offset].ljust(offset, b"\0") + data
        return segment

    async def store(self, number: InodeNumber, data: bytes, offset: int = 0) -> Segment:
        """The same for given bytes."""
        buffer = new_buffer(len(data))
        buffer[: len(data)] = data
        wanted = effective(self.state, number, self.segments.protection)
        segment = await self.segments.write(self.metadata.new_segment_id(), buffer, len(data), wanted)
        self.do(StoreData(segment, (FileData(number, ((offset, len(data), 0),)),)))
        self.segments.in_flight.discard(segment.id)
        return segment

    async def fill(self, files: int, length: int = LENGTH) -> list[SegmentId]:
        """So many files, each in a segment of its own; the segments in order."""
        return [(await self.write(self.make(b"file %d" % i), length)).id for i in range(files)]

    async def read(self, number: InodeNumber) -> bytes:
        """All bytes of a file."""
        content = bytearray(self.state.inode(number).size)
        for start, extent in extents_within(self.state, number, 0, len(content)):
            segment = self.state.find_segment(extent.segment)
            assert segment is not None
            content[start : start + extent.length] = await self.segments.read(segment, extent.at, extent.length)
        return bytes(content)

    async def check_bytes(self) -> None:
        """Whether every file has the bytes that were written."""
        for number, data in self.model.items():
            assert await self.read(number) == data

    async def check_whole(self) -> None:
        """Whether every shard of every segment is there and sound, and nothing else lies on the bricks."""
        await self.check_bytes()
        for segment in self.state.segments(b"S"):
            assert len(set(segment.bricks)) == segment.protection.width
            assert segment.wanted is None
        assert await self.problems() == 0
        assert self.files() == self.named()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what running services do; ten minutes of trio's clock at most."""
    with trio.fail_after(600):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.5)


def flip(path: Path, at: int = -100) -> None:
    """Change a byte behind the brick's back."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x20
    path.write_bytes(raw)
