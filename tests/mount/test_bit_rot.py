"""Damage to shard files is found, mended, and never served."""

import random
from pathlib import Path

import pytest

from tests.mount.bricks import make_files, shard_files, wait_until_protected, wrong
from tests.mount.volume import Volume

pytestmark = [pytest.mark.mount, pytest.mark.slow]

_FLIPS = 1000
_FLIPS_AT_ONCE = 100


def _flip(path: Path, chance: random.Random) -> None:
    size = path.stat().st_size
    place = chance.choice((chance.randrange(4096), chance.randrange(size)))  # header and checksums, or anywhere
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << chance.randrange(8)]))


def _two_of_each_segment_at_most(files: list[Path], chance: random.Random, count: int) -> list[Path]:
    """Segments are named by what stands before the last dot or dash; m = 2 shards of each may be damaged."""
    chance.shuffle(files)
    chosen: list[Path] = []
    by_segment: dict[str, int] = {}
    for path in files:
        segment = path.name[:16]
        if by_segment.get(segment, 0) < 2:
            by_segment[segment] = by_segment.get(segment, 0) + 1
            chosen.append(path)
    return (chosen * (count // max(1, len(chosen)) + 1))[:count]


def test_a_thousand_flips(volume: Volume) -> None:
    """Every one is found by reading or by scrub, mended, and none is served."""
    chance = random.Random(4)
    files = make_files(volume.path, 4, 32)
    volume.remount()
    flipped = 0
    while flipped < _FLIPS:
        for path in _two_of_each_segment_at_most(shard_files(volume), chance, _FLIPS_AT_ONCE):
            _flip(path, chance)
            flipped += 1
        if flipped % 200:
            assert wrong(files) == []
        volume.ask("scrub start", "--wait", check=False)
        wait_until_protected(volume)
        report = volume.ask("fsck", check=False)
        assert report["findings_total"] == 0, report
    assert wrong(files) == []


@pytest.mark.parametrize("length", [0, 100, 4096, 5000])
def test_torn_shards(length: int, volume: Volume) -> None:
    """Cut to nothing, within the header, at its end, and within the first block."""
    files = make_files(volume.path, 5, 8)
    volume.remount()
    for path in _two_of_each_segment_at_most(shard_files(volume), random.Random(length), 1000):
        if path.stat().st_size > length:
            with path.open("r+b") as file:
                file.truncate(length)
    assert wrong(files) == []
    volume.ask("scrub start", "--wait", check=False)
    wait_until_protected(volume)
    volume.assert_sound()
    assert wrong(files) == []
