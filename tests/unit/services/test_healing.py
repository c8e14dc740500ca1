"""Healing on real brick folders."""

from pathlib import Path

import pytest
import trio

from dwd.model.errors import NoSpace
from dwd.model.ids import NO_BRICK, BrickId, ShardIndex
from dwd.model.protection import Protection
from dwd.model.topology import Standing
from dwd.namespace.commands import Command, Rehouse, SetAttributes
from dwd.services.healing import Healer
from tests.unit.services.plant import GRACE_S, LENGTH, Plant, flip, until


async def test_a_whole_volume_needs_nothing(tmp_path: Path) -> None:
    """A round over sound segments counts them and writes nothing."""
    plant = Plant(tmp_path)
    await plant.fill(3)
    before = plant.changes()
    await plant.healer.heal()
    status = plant.healer.status()
    assert (status.state, status.segments, status.waiting_segments, status.surveyed) == ("whole", 3, 0, True)
    assert plant.changes() == before


async def test_a_brick_that_is_gone_for_good_is_rebuilt_on_a_spare(tmp_path: Path) -> None:
    """Its shards are computed from the others and lie on another brick, and the records say so."""
    plant = Plant(tmp_path, bricks=7)
    await plant.fill(6)
    await plant.destroy(2)
    await plant.healer.heal()
    await plant.check_whole()
    assert not any(2 in segment.bricks for segment in plant.state.segments(b"S"))
    assert plant.healer.status().state == "whole"


async def test_a_brick_that_is_merely_away_is_waited_for(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """Nothing is rebuilt within the grace; what it lacks after that goes elsewhere."""
    mock_clock.rate = 1
    plant = Plant(tmp_path, bricks=7)
    await plant.fill(6)
    await plant.hide(2)
    await plant.healer.heal()
    assert plant.healer.status().shards_rebuilt == 0
    assert plant.healer.status().away > 0
    mock_clock.jump(GRACE_S + 1)
    await plant.healer.heal()
    await plant.check_whole()


async def test_the_worst_protected_go_first(tmp_path: Path) -> None:
    """Of segments that miss one shard and segments that miss two, the latter are done before any of the former."""
    plant = Plant(tmp_path, bricks=8)
    segments = await plant.fill(10)
    await plant.destroy(1)
    await plant.destroy(2)
    missing = {s: sum(b in {1, 2} for b in found.bricks) for s in segments if (found := plant.state.find_segment(s))}
    order: list[int] = []

    def note(command: Command) -> None:
        if isinstance(command.operation, Rehouse):
            order.append(missing[command.operation.segment])

    plant.log.before = note
    await plant.healer.heal()
    assert set(order) == {1, 2}
    assert order == sorted(order, reverse=True)
    await plant.check_whole()


async def test_without_a_spare_it_waits_and_is_done_once_there_is_one(tmp_path: Path) -> None:
    """Six bricks, 4+2, one lost: degraded, and visible as such, until a brick is added."""
    plant = Plant(tmp_path)
    await plant.fill(5)
    await plant.destroy(3)
    await plant.healer.heal()
    status = plant.healer.status()
    assert (status.state, status.waiting_segments, status.no_brick) == ("waiting", 5, 5)
    assert status.by_margin == {1: 5}
    plant.add_brick(7)
    await plant.healer.heal()
    assert plant.healer.status().state == "whole"
    await plant.check_whole()


async def test_shards_that_were_never_placed_are_completed(tmp_path: Path) -> None:
    """What was written while a brick failed its writes gets its full width."""
    plant = Plant(tmp_path)
    segment = (await plant.fill(1))[0]
    record = plant.state.find_segment(segment)
    assert record is not None
    plant.shard(segment, 3).unlink()
    new = tuple(NO_BRICK if i == 3 else brick for i, brick in enumerate(record.bricks))
    plant.do(Rehouse(segment, record.bricks, new))
    await plant.healer.heal()
    await plant.check_whole()


async def test_a_returned_brick_is_completed_by_difference(tmp_path: Path) -> None:
    """Only shards that it lacks are written, those of segments that died meanwhile go, nothing else is touched."""
    plant = Plant(tmp_path)
    segments = await plant.fill(8)
    await plant.healer.heal()
    await plant.hide(4)
    dead = next(iter(plant.model))
    plant.do(SetAttributes(dead, size=0))
    plant.model[dead] = b""
    await plant.garbage.collect()
    lacking = [plant.path(4) / path for path in _remove_two(plant.folder / "hidden-4", segments[0])]
    before = {path: when for path, when in plant.changes().items() if plant.folder / "hidden-4" not in path.parents}
    await plant.bring_back(4)
    returned = plant.changes()
    await plant.healer.heal()
    await plant.garbage.sweep(BrickId(4), at_once=True)
    await plant.check_whole()
    assert plant.healer.status().shards_rebuilt == 2
    after = plant.changes()
    assert set(after) - set(returned) == set(lacking)
    assert before.items() <= after.items()
    assert all(after[path] == returned[path] for path in after if path not in lacking)


def _remove_two(brick: Path, spared: int) -> list[Path]:
    """Remove two shards, not of this segment; where they were on the brick."""
    chosen = [path for path in sorted(brick.rglob("shards/*/*")) if f"{spared:016x}" not in path.name][:2]
    for path in chosen:
        path.unlink()
    return [path.relative_to(brick) for path in chosen]


async def test_an_emptied_brick_is_filled_again_in_place(tmp_path: Path) -> None:
    """A brick whose folder was replaced by an empty one gets all of its shards again, also after a restart."""
    plant = Plant(tmp_path)
    await plant.fill(6)
    for path in plant.path(5).rglob("shards/*/*"):
        path.unlink()
    plant.restart()
    await plant.healer.heal()
    await plant.check_whole()


async def test_damage_is_mended_at_once(tmp_path: Path) -> None:
    """A read meets a flipped byte, answers rightly, and the shard is whole again, on its brick."""
    plant = Plant(tmp_path)
    segment = (await plant.fill(1))[0]
    path = plant.shard(segment, 1)
    sound = path.read_bytes()
    flip(path)
    await plant.check_bytes()
    assert plant.healer.status().mending.waiting == 1
    assert plant.healer.bad_shards() == {segment: {ShardIndex(1)}}
    assert await plant.healer.mender.mend_all() == set()
    assert path.read_bytes() == sound
    assert plant.healer.status().mending.mended == 1
    await plant.check_whole()


async def test_a_false_report_costs_nothing(tmp_path: Path) -> None:
    """A shard that is sound when it is looked at, or a segment that is gone, is left alone."""
    plant = Plant(tmp_path)
    segment = (await plant.fill(1))[0]
    before = plant.shard(segment, 0).stat().st_ctime_ns
    plant.healer.damaged(segment, ShardIndex(0))
    plant.healer.damaged(plant.metadata.new_segment_id(), ShardIndex(0))
    assert await plant.healer.mender.mend_all() == set()
    assert plant.shard(segment, 0).stat().st_ctime_ns == before
    assert plant.healer.status().mending.mended == 0


async def test_reports_are_bounded(tmp_path: Path) -> None:
    """A brick full of damage does not fill the memory: what is dropped is met again."""
    plant = Plant(tmp_path)
    for _ in range(5000):
        plant.healer.damaged(plant.metadata.new_segment_id(), ShardIndex(0))
    assert plant.healer.status().mending.waiting == 4096
    assert plant.healer.status().mending.dropped == 5000 - 4096


async def test_a_segment_that_is_lost_stops_nothing(tmp_path: Path) -> None:
    """Two damaged shards and a missing one are more than m: it is reported, and the others are healed."""
    plant = Plant(tmp_path, bricks=7)
    segments = await plant.fill(6)
    victim = segments[2]
    await plant.destroy(1)
    record = plant.state.find_segment(victim)
    assert record is not None
    sound = [i for i, brick in enumerate(record.bricks) if brick in plant.bricks.online()]
    for index in sound[: 3 - (len(record.bricks) - len(sound))]:
        flip(plant.shard(victim, index))
    await plant.healer.heal()
    await plant.healer.mender.mend_all()
    for segment in plant.state.segments(b"S"):
        assert segment.id == victim or 1 not in segment.bricks
    lost_by_records = sum(1 in s.bricks for s in plant.state.segments(b"S"))
    status = plant.healer.status()
    assert status.lost == lost_by_records
    assert (status.lost == 1) == (1 in record.bricks)
    assert status.lost == 0 or status.unreadable == (victim,)


async def test_what_cannot_be_mended_does_not_go_round(tmp_path: Path) -> None:
    """An attempt meets the other bad shards of its segment and reports them: they wait with it for the next time."""
    plant = Plant(tmp_path, bricks=7)
    victim = (await plant.fill(1))[0]
    for index in range(3):
        flip(plant.shard(victim, index))
    plant.healer.damaged(victim, ShardIndex(0))
    with trio.fail_after(20):
        assert await plant.healer.mender.mend_all() == {victim}
    plant.healer.damaged(victim, ShardIndex(0))
    assert plant.healer.status().mending.waiting == 0
    assert plant.healer.status().mending.stuck == 1


async def test_a_full_target_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A brick without room is told as the problem, nothing is lost, and the next round tries again."""
    plant = Plant(tmp_path)
    await plant.fill(3)
    await plant.destroy(6)
    plant.add_brick(7)
    brick = plant.bricks.find(BrickId(7))

    def full(*_: object) -> None:
        raise NoSpace("brick 7 is full")

    with monkeypatch.context() as patch:
        patch.setattr(brick, "write_shard", full)
        await plant.healer.heal()
    status = plant.healer.status()
    assert status.failed > 0
    assert "full" in status.problem
    await plant.check_bytes()
    plant.bricks.measure()
    await plant.healer.heal()
    await plant.check_whole()


async def test_a_kill_before_the_record_leaves_a_stray_and_no_more(tmp_path: Path) -> None:
    """A shard was rebuilt but never named: the restarted daemon sweeps it or builds it again, and all is whole."""
    plant = Plant(tmp_path, bricks=8)
    await plant.fill(6)
    await plant.destroy(1)

    class Killed(BaseException):
        pass

    def kill(command: Command) -> None:
        if isinstance(command.operation, Rehouse):
            raise Killed

    plant.log.before = kill
    with pytest.raises(BaseExceptionGroup):
        await plant.healer.heal()
    plant.log.before = lambda _: None
    plant.log._batch.clear()
    assert plant.files() - plant.named()
    plant.restart()
    for number in plant.bricks.online():
        await plant.garbage.sweep(number, at_once=True)
    assert plant.files() == plant.named()
    await plant.healer.heal()
    await plant.check_whole()


async def test_who_loses_the_race_removes_what_it_wrote(tmp_path: Path) -> None:
    """A segment that dies between rebuild and Rehouse: the command is refused, and its new shard goes."""
    plant = Plant(tmp_path, bricks=7)
    await plant.fill(4)
    await plant.destroy(1)
    overtaken: list[int] = []

    def overtake(command: Command) -> None:
        if isinstance(command.operation, Rehouse) and not overtaken:
            overtaken.append(command.operation.segment)
            plant.log.before = lambda _: None
            victim = next(n for n in plant.model if _segment_of(plant, n) == command.operation.segment)
            plant.do(SetAttributes(victim, size=0))
            plant.model[victim] = b""

    plant.log.before = overtake
    await plant.healer.heal()
    assert overtaken
    assert plant.rehousing.status().passed_over == 1
    await plant.garbage.collect()
    await plant.check_whole()


def _segment_of(plant: Plant, number: int) -> int:
    return next(extent.segment for _, extent in plant.state.extents(number, 0, 1 << 40))  # type: ignore[arg-type]


async def test_an_ejected_brick_is_emptied_by_copying(tmp_path: Path) -> None:
    """Its shards are sound: each is copied elsewhere, and the old file goes once the record names the new one."""
    plant = Plant(tmp_path, bricks=7)
    await plant.fill(8)
    plant.stand(3, Standing.EJECTED)
    await plant.healer.heal()
    assert not any(3 in segment.bricks for segment in plant.state.segments(b"S"))
    assert not any(number == 3 for number, _, _ in plant.files())
    await plant.check_whole()


async def test_more_ejected_bricks_than_m_lose_nothing(tmp_path: Path) -> None:
    """Three of nine are given up, of 4+2: what is sound is moved in steps, never counted as lost."""
    plant = Plant(tmp_path, bricks=9)
    await plant.fill(8)
    for number in (1, 2, 3):
        plant.stand(number, Standing.EJECTED)
    for _ in range(3):
        await plant.healer.heal()
    assert not any({1, 2, 3} & set(segment.bricks) for segment in plant.state.segments(b"S"))
    await plant.check_whole()


async def test_what_was_written_at_a_fallback_is_written_anew(tmp_path: Path) -> None:
    """4+2 on four bricks is 2+2; with six it becomes 4+2 by itself."""
    plant = Plant(tmp_path, bricks=4)
    await plant.fill(3)
    assert {segment.protection for segment in plant.state.segments(b"S")} == {Protection(2, 2)}
    await plant.healer.heal()
    assert plant.healer.status().fallback == 3
    plant.add_brick(5)
    plant.add_brick(6)
    await plant.healer.heal()
    await plant.garbage.collect()
    assert {segment.protection for segment in plant.state.segments(b"S")} == {Protection(4, 2)}
    await plant.check_whole()
    await plant.healer.heal()
    assert plant.healer.status().fallback == 0


async def test_a_brick_that_vanishes_meanwhile_ends_the_round(tmp_path: Path) -> None:
    """The order may be another now: the next round begins with what is worst then, and all is healed."""
    plant = Plant(tmp_path, bricks=9)
    await plant.fill(6)
    await plant.destroy(1)
    done: list[int] = []

    def lose(command: Command) -> None:
        if isinstance(command.operation, Rehouse):
            done.append(command.operation.segment)
            if len(done) == 1:
                plant.bricks.detach(BrickId(2))

    plant.log.before = lose
    await plant.healer.heal()
    assert len(done) > 0
    plant.log.before = lambda _: None
    await plant.healer.heal()
    await plant.healer.heal()
    await plant.check_bytes()
    assert not any({1, 2} & set(segment.bricks) for segment in plant.state.segments(b"S"))


async def test_it_runs_by_itself(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """The loss of a brick, and damage that a read meets, wake the tasks."""
    mock_clock.rate = 20
    plant = Plant(tmp_path, bricks=7)
    segments = await plant.fill(4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plant.healer.run)
        await trio.sleep(5)
        flip(plant.shard(segments[0], 0))
        await plant.check_bytes()
        await plant.destroy(2)
        await until(lambda: not any(2 in s.bricks for s in plant.state.segments(b"S")))
        await until(lambda: plant.healer.status().mending.mended > 0)
        nursery.cancel_scope.cancel()
    await plant.check_whole()


async def test_a_deadline_sets_the_pace(tmp_path: Path) -> None:
    """What is left to be moved, by the time that is left, is the least speed while a round lasts."""
    plant = Plant(tmp_path, bricks=7)
    await plant.fill(4)
    await plant.destroy(1)
    plant.pacer.budget = type(plant.pacer.budget)(deadline_s=10.0)
    paces: list[float] = []
    plant.log.before = lambda _: paces.append(plant.pacer.least_bytes_per_s)
    await plant.healer.heal()
    assert max(paces) > LENGTH / 10
    assert plant.pacer.least_bytes_per_s == 0


def test_the_grace_is_ten_minutes() -> None:
    """What the documents say."""
    assert Healer.__init__.__kwdefaults__ == {"grace_s": 600.0}
