"""The repacker: plans are performed at their protection, and one that fails does not hold up the others."""

from typing import cast

import trio

from dwd.model.ids import InodeNumber, SegmentId
from dwd.namespace.commands import FileData, SetPolicy, StoreData
from dwd.namespace.repacking import plan_compaction
from dwd.services.metadata import Metadata
from dwd.services.repacker import Repacker
from dwd.services.segments import Segments
from tests.unit.namespace.volume import MIRROR, RS, Volume
from tests.unit.services.stand_ins import DirectMetadata, MemorySegments


def mostly_dead(volume: Volume, count: int) -> list[tuple[InodeNumber, SegmentId]]:
    """Files of which 20 bytes live, 10 of them with a policy's file in one segment."""
    made = []
    for i in range(count):
        plain, own = volume.make(b"plain%d" % i).number, volume.make(b"own%d" % i).number
        volume.do(SetPolicy(own, RS))
        segment = volume.segment(b"0123456789" * 10)
        volume.do(StoreData(segment, (FileData(plain, ((0, 10, 0),)), FileData(own, ((0, 10, 10),)))))
        made.append((plain, segment.id))
    return made


async def run_for(repacker: Repacker, seconds: float) -> None:
    """Let it work."""
    with trio.move_on_after(seconds):
        await repacker.run()


async def test_each_protection_has_its_segments(autojump_clock: trio.testing.MockClock) -> None:
    """Mostly dead segments and inline bytes are packed with their like, at what their files are to have."""
    volume = Volume()
    old = mostly_dead(volume, 3)
    for wanted, name in ((None, b"a"), (RS, b"b")):
        number = volume.make(name).number
        volume.do(SetPolicy(number, wanted))
        volume.write(number, 0, b"inline", inline=True)
    segments = MemorySegments(volume, MIRROR)
    repacker = Repacker(cast("Metadata", DirectMetadata(volume)), cast("Segments", segments))
    await run_for(repacker, 60)
    assert sorted(segments.wanted, key=lambda p: p.m) == [MIRROR, MIRROR, RS, RS]
    assert not {segment.id for segment in volume.state.segments(b"S")} & {segment for _, segment in old}
    assert volume.state.volume.inline_bytes == 0
    assert {volume.read(number) for number, _ in old} == {b"0123456789"}
    volume.check()


async def test_lost_segment_does_not_hold_up_others(autojump_clock: trio.testing.MockClock) -> None:
    """What cannot be read stays where it is; what was to be packed with it, or is behind it, is packed all the same."""
    volume = Volume()
    old = mostly_dead(volume, 3)
    lost = old[0][1]
    segments = MemorySegments(volume, MIRROR)
    segments.lost.add(lost)
    await run_for(Repacker(cast("Metadata", DirectMetadata(volume)), cast("Segments", segments)), 60)
    assert {segment.id for segment in volume.state.segments(b"S")} & {segment for _, segment in old} == {lost}
    assert segments.wanted == [MIRROR, RS]
    volume.check()


async def test_plan_of_which_nothing_can_be_read() -> None:
    """No segment is written for it."""
    volume = Volume()
    ((_, lost),) = mostly_dead(volume, 1)
    segments = MemorySegments(volume, MIRROR)
    segments.lost.add(lost)
    repacker = Repacker(cast("Metadata", DirectMetadata(volume)), cast("Segments", segments))
    plan, _ = plan_compaction(volume.state, SegmentId(0), MIRROR)
    assert plan.moves
    assert await repacker.perform(plan) == 0
    assert segments.wanted == []
