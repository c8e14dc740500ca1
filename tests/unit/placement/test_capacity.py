from collections import Counter

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.limits import SEGMENT_BYTES_MAX
from dwd.model.protection import Protection
from dwd.model.units import GIB, KIB, MIB, TIB
from dwd.placement.capacity import capacity, reserve_bytes
from dwd.ports import BrickSpace


def test_reserve_is_a_twentieth_and_at_most_a_gibibyte() -> None:
    """Small devices keep a twentieth back, big ones one GiB."""
    assert reserve_bytes(100 * MIB) == 5 * MIB
    assert reserve_bytes(10 * TIB) == GIB


def test_six_devices_hold_two_thirds() -> None:
    """4+2 on six equal devices: two thirds of what the reserve leaves, less the overhead of shard files."""
    room = [BrickSpace(total=101 * GIB, free=51 * GIB, device=i) for i in range(6)]
    result = capacity(room, Protection(4, 2))
    assert 0.99 * 400 * GIB < result.total <= 400 * GIB
    assert 0.99 * 200 * GIB < result.free <= 200 * GIB


def test_bricks_on_one_device_share_its_room() -> None:
    """Six bricks on one disk have the room of one disk, not of six."""
    result = capacity([BrickSpace(total=61 * GIB, free=61 * GIB, device=1)] * 6, Protection(4, 2))
    assert 0.99 * 40 * GIB < result.total == result.free <= 40 * GIB


def test_big_brick_cannot_take_two_shards_of_a_segment() -> None:
    """One huge disk among small ones adds no more than its one shard of each segment."""
    small = [BrickSpace(total=11 * GIB, free=11 * GIB, device=i) for i in range(5)]
    huge = BrickSpace(total=11 * TIB, free=11 * TIB, device=9)
    equal = attrs.evolve(huge, total=11 * GIB, free=11 * GIB)
    assert capacity([*small, huge], Protection(4, 2)) == capacity([*small, equal], Protection(4, 2))


def test_device_within_its_reserve_is_full() -> None:
    """What is left of the reserve is never offered."""
    room = [BrickSpace(total=100 * GIB, free=GIB, device=i) for i in range(3)]
    assert capacity(room, Protection(1, 2)).free == 0


@pytest.mark.parametrize(("online", "stores"), [(3, False), (4, True), (5, True), (0, False)])
def test_missing_bricks_lower_protection_before_capacity(online: int, stores: bool) -> None:
    """Down to k bricks a volume can still store; below that it cannot."""
    room = [BrickSpace(total=10 * GIB, free=10 * GIB, device=i) for i in range(online)]
    assert (capacity(room, Protection(4, 2)).free > 0) == stores


def place_in_turn(shards: list[int], segments: int, width: int) -> list[Counter[int]]:
    """Give each device's shards to the segments in turn, going round: how many each segment has on each device."""
    placed: list[Counter[int]] = [Counter() for _ in range(segments)]
    turn = 0
    for device, count in enumerate(shards):
        for _ in range(min(count, segments * width - turn)):
            placed[turn % segments][device] += 1
            turn += 1
    return placed


@settings(derandomize=True, deadline=None, max_examples=200)
@given(devices=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), min_size=1, max_size=5))
def test_capacity_can_be_reached_and_not_passed(devices: list[tuple[int, int]]) -> None:
    """The figure is exact: so many segments can be placed (the test does it), and one more cannot."""
    protection = Protection(2, 1)
    shard = protection.shard_length(SEGMENT_BYTES_MAX) + 8 * KIB
    bricks = [
        BrickSpace(total=20 * TIB, free=GIB + shards * shard, device=device)
        for device, (shards, count) in enumerate(devices)
        for _ in range(count)
    ]
    segments = capacity(bricks, protection).free // SEGMENT_BYTES_MAX
    width = min(protection.width, len(bricks))
    if width < protection.k:
        assert segments == 0
        return
    placed = place_in_turn([min(shards, segments * count) for shards, count in devices], segments, width)
    for segment in placed:
        assert segment.total() == width
        assert all(segment[device] <= count for device, (_, count) in enumerate(devices))
    assert sum(min(shards, (segments + 1) * count) for shards, count in devices) < (segments + 1) * width
