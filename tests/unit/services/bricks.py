"""Bricks on the real disk for tests of services, with records, and ways to slow or fail them."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from dwd.adapters.brick_directory import BrickDirectory, create_brick, open_brick
from dwd.model.errors import BrickFault, DwError
from dwd.model.ids import BrickId, LogIndex, NodeId, SegmentId, ShardIndex, VolumeId
from dwd.model.topology import Standing
from dwd.namespace.records import BrickRecord
from dwd.ports import Brick
from dwd.services.bricks import Bricks

VOLUME = VolumeId(b"v" * 16)


class FaultyBrick(BrickDirectory):
    """A real brick that fails or hangs when told to."""

    write_failure: DwError | None = None
    read_failure: DwError | None = None
    write_gate: threading.Event | None = None  # writes wait for it
    read_gate: threading.Event | None = None
    written = 0

    def write_shard(self, segment: SegmentId, index: ShardIndex, image: Sequence[bytes | memoryview]) -> None:
        if self.write_failure is not None:
            raise self.write_failure
        if self.write_gate is not None:
            self.write_gate.wait(20)
        super().write_shard(segment, index, image)
        self.written += 1

    def read(self, segment: SegmentId, index: ShardIndex, offset: int, length: int, *, wait: bool) -> bytes | None:
        if self.read_failure is not None:
            raise self.read_failure
        if self.read_gate is not None:
            if not wait:
                return None
            self.read_gate.wait(20)
        return super().read(segment, index, offset, length, wait=wait)

    def read_into(self, segment: SegmentId, index: ShardIndex, body: memoryview) -> None:
        if self.read_failure is not None:
            raise self.read_failure
        if self.read_gate is not None:
            self.read_gate.wait(20)
        super().read_into(segment, index, body)


def record(number: int, uuid: bytes, **changes: object) -> BrickRecord:
    """A row of table K."""
    row = BrickRecord(LogIndex(0), BrickId(number), uuid, NodeId(1), 1.0, Standing.ACTIVE, "default/default/1", "", 0)
    return msgspec.structs.replace(row, **changes)


def make(path: Path, count: int) -> tuple[Bricks, dict[int, FaultyBrick]]:
    """A set of new bricks 1 to `count`, in folders of these names."""
    bricks, made = Bricks(), {}
    for number in range(1, count + 1):
        created = create_brick(path / str(number), VOLUME, BrickId(number))
        made[number] = brick = FaultyBrick(created.path, created.superblock)
        bricks.attach(brick, record(number, brick.uuid), reopener(path / str(number), number))
    return bricks, made


def reopener(path: Path, number: int) -> Callable[[], Brick]:
    """How a brick is looked for."""
    return partial(open_brick, path, VOLUME, BrickId(number))


def vanished() -> Brick:
    """A brick that is not found."""
    raise BrickFault("nothing is there")
