"""The simulated disk: it loses what a real one may lose, and nothing that was synced."""

import random

import pytest

from dwd.model.errors import CorruptWal
from tests.simulation.disk import FILE_BYTES, WalOnDisk


def payload(number: int) -> bytes:
    """What record `number` says."""
    return b"%d " % number * (1 + number % 300)


def numbers(records: list[tuple[int, bytes]]) -> list[int]:
    """The sequence numbers, when every payload is the one that belongs to its number."""
    assert all(found == payload(sequence) for sequence, found in records)
    return [sequence for sequence, _ in records]


def written(wal: WalOnDisk, count: int) -> None:
    """Append the next records."""
    for _ in range(count):
        wal.append(payload(wal.appended + 1))


@pytest.mark.parametrize("seed", range(40))
def test_power_cut(seed: int) -> None:
    """What was synced is there after a power cut, and of the rest a beginning."""
    chance, wal = random.Random(seed), WalOnDisk()
    for _ in range(5):
        written(wal, chance.randint(0, 30))
        if chance.random() < 0.7:
            wal.sync()
        synced, appended = wal.synced, wal.appended
        wal.lose_unsynced(chance)
        found = numbers(wal.open())
        assert found == list(range(1, len(found) + 1))
        assert synced <= len(found) <= appended


def test_killed() -> None:
    """What was written is there after the end of the process, synced or not."""
    wal = WalOnDisk()
    written(wal, 10)
    assert numbers(wal.open()) == list(range(1, 11))


@pytest.mark.parametrize("seed", range(40))
def test_rot(seed: int) -> None:
    """A flipped bit in what was synced is found, and never taken for a torn tail."""
    chance, wal = random.Random(seed), WalOnDisk()
    for _ in range(12):
        written(wal, chance.randint(1, 5))
        wal.sync()
    assert wal.rot(chance)
    with pytest.raises(CorruptWal):
        wal.open()


def test_forgetting() -> None:
    """Whole files go, from the front."""
    wal = WalOnDisk()
    while wal.size < 4 * FILE_BYTES:
        written(wal, 10)
        wal.sync()
    wal.forget_before(wal.appended)
    found = numbers(wal.open())
    assert 1 < found[0] <= wal.appended
    assert found == list(range(found[0], wal.appended + 1))
