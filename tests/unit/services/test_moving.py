"""Draining and balancing on real brick folders."""

from pathlib import Path

import pytest
import trio

from dwd.model.errors import NoSpace
from dwd.model.ids import BrickId
from dwd.model.protection import Protection
from dwd.model.topology import Standing
from dwd.namespace.commands import Command, Rehouse
from dwd.placement.holdings import holdings, shard_bytes
from tests.unit.services.plant import Plant, flip, until


def _on(plant: Plant, brick: int) -> int:
    """Shards that records name on a brick."""
    return sum(brick in segment.bricks for segment in plant.state.segments(b"S"))


async def test_a_drained_brick_holds_nothing(tmp_path: Path) -> None:
    """Its shards go elsewhere, bit for bit, also one that was damaged there; the bytes left are told."""
    plant = Plant(tmp_path, bricks=7)
    await plant.fill(5)
    victim = next(s for s in plant.state.segments(b"S") if 3 in s.bricks)
    flip(plant.shard(victim.id, victim.bricks.index(BrickId(3))))
    plant.stand(3, Standing.DRAINING)
    await plant.mover.drain()
    assert _on(plant, 3) == 0
    assert plant.mover.status().draining == {3: 0}
    assert plant.mover.status().bytes_moved > 0
    await plant.check_whole()


async def test_a_drain_that_has_nowhere_to_go_waits(tmp_path: Path) -> None:
    """Six bricks and 4+2: nothing is moved, the bytes left stay, and a new brick lets it go on."""
    plant = Plant(tmp_path)
    await plant.fill(3)
    plant.stand(3, Standing.DRAINING)
    await plant.mover.drain()
    left = plant.mover.status().draining[BrickId(3)]
    assert left == sum(shard_bytes(segment) for segment in plant.state.segments(b"S"))
    assert _on(plant, 3) == 3
    plant.add_brick(7)
    await plant.mover.drain()
    assert _on(plant, 3) == 0
    await plant.check_whole()


async def test_a_standing_that_changes_stops_a_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ACTIVE again: what was not moved yet stays, and nothing is told to be left."""
    monkeypatch.setattr("dwd.services.moving._CHUNK", 1)
    plant = Plant(tmp_path, bricks=7)
    await plant.fill(6)
    before = _on(plant, 3)
    plant.stand(3, Standing.DRAINING)

    def relent(command: Command) -> None:
        if isinstance(command.operation, Rehouse):
            plant.log.before = lambda _: None
            plant.stand(3, Standing.ACTIVE)

    plant.log.before = relent
    await plant.mover.drain()
    assert _on(plant, 3) == before - 1
    assert plant.mover.status().draining == {}
    await plant.check_whole()


async def test_a_full_brick_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, and another attempt ends the drain."""
    plant = Plant(tmp_path, bricks=6)
    await plant.fill(2)
    plant.add_brick(7)
    plant.stand(3, Standing.DRAINING)

    def full(*_: object) -> None:
        raise NoSpace("brick 7 is full")

    with monkeypatch.context() as patch:
        patch.setattr(plant.bricks.find(BrickId(7)), "write_shard", full)
        await plant.mover.drain()
    assert "full" in plant.mover.status().problem
    await plant.check_whole()
    plant.bricks.measure()
    await plant.mover.drain()
    assert _on(plant, 3) == 0


async def test_balance_after_adding_moves_little_more_than_the_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new brick gets its share, in pieces of a walk too, and no more than 1.2 times what must be moved is."""
    monkeypatch.setattr("dwd.services.moving._CHUNK", 4)
    plant = Plant(tmp_path)
    await plant.fill(14, 4096)
    total = sum(holdings(plant.state.segments(b"S")).by_brick.values())
    plant.add_brick(7)
    await plant.mover.rebalance()
    held = holdings(plant.state.segments(b"S")).by_brick
    one = shard_bytes(next(plant.state.segments(b"S")))
    assert plant.mover.status().bytes_moved <= 1.2 * total / 7
    assert all(abs(held[BrickId(n)] - total / 7) <= one for n in range(1, 8))
    assert plant.mover.status().balance_left == 0
    await plant.check_whole()
    moved = plant.mover.status().bytes_moved
    await plant.mover.rebalance()
    assert plant.mover.status().bytes_moved == moved


async def test_a_weight_is_heeded(tmp_path: Path) -> None:
    """A brick of half the weight gives up what is above its share."""
    plant = Plant(tmp_path, 4, Protection(1, 1))
    await plant.fill(24, 4096)
    before = _on(plant, 2)
    plant.stand(2, Standing.ACTIVE, weight=0.25)
    await plant.mover.rebalance()
    assert _on(plant, 2) < before - 3
    assert _on(plant, 2) == pytest.approx(48 * 0.25 / 3.25, abs=3)  # the others have less than a shard's room each
    await plant.check_whole()


async def test_it_runs_by_itself(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """A wake is enough for a drain, a word for a balance; what a kill interrupted is found again."""
    mock_clock.rate = 20
    plant = Plant(tmp_path, bricks=7)
    await plant.fill(14, 4096)
    plant.stand(5, Standing.DRAINING)
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plant.mover.run)
            await until(lambda: not _on(plant, 5))
            plant.stand(5, Standing.ACTIVE)
            plant.mover.balance()
            await until(lambda: _on(plant, 5) > 0)
            nursery.cancel_scope.cancel()
        plant.restart()
        plant.stand(5, Standing.DRAINING)
    plant.stand(5, Standing.ACTIVE)
    for number in plant.bricks.online():
        await plant.garbage.sweep(number, at_once=True)
    await plant.check_whole()
