import errno
import shutil
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from dwd.adapters.brick_directory import create_brick, open_brick
from dwd.model.errors import BrickFault, CorruptShard, NoSpace, ShardMissing
from dwd.model.ids import BrickId
from dwd.model.topology import Standing
from dwd.placement.health import ERRORS_SUSPECTED, Verdict
from dwd.services import bricks as module
from dwd.services.bricks import Bricks, Condition
from tests.unit.services.bricks import VOLUME, make, record, reopener, vanished

ONE = BrickId(1)


def takers(bricks: Bricks) -> list[int]:
    """Which bricks take new shards."""
    return [candidate.brick for candidate in bricks.writable()]


async def test_deleted_folder_is_missing_though_its_files_are_open(tmp_path: Path) -> None:
    """A brick whose folder was deleted leaves every set at the next look, with evidence, and its files are closed."""
    bricks, made = make(tmp_path, 3)
    changed = bricks.changed
    shutil.rmtree(tmp_path / "1")
    assert not await bricks.inspect(ONE)
    assert bricks.find(ONE) is None
    assert sorted(bricks.online()) == [2, 3]
    assert takers(bricks) == [2, 3]
    state = bricks.condition(ONE)
    assert state.condition is Condition.MISSING
    assert "is gone" in state.evidence
    assert changed.is_set()
    assert made[1].statistics().open == 0


async def test_brick_that_comes_back_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prober reattaches the same brick, and says that it appeared once more."""
    monkeypatch.setattr(module, "_PERIOD_S", 0.01)
    bricks, _ = make(tmp_path, 2)
    (tmp_path / "1").rename(tmp_path / "away")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bricks.run)
        while bricks.find(ONE) is not None:
            await bricks.changed.wait()
        (tmp_path / "away").rename(tmp_path / "1")
        while bricks.find(ONE) is None:
            await bricks.changed.wait()
        nursery.cancel_scope.cancel()
    assert bricks.appearances(ONE) == 3
    assert takers(bricks) == [1, 2]


async def test_a_replaced_brick_has_appeared_anew(tmp_path: Path) -> None:
    """Though it is known since a moment only: who compared the old one must compare this one too."""
    bricks, made = make(tmp_path, 1)
    before, record = bricks.appearances(ONE), bricks.records()[ONE]
    bricks.detach(ONE)
    bricks.attach(open_brick(tmp_path / "1", VOLUME, ONE), record, lambda: made[1])
    assert bricks.appearances(ONE) > before
    bricks.close()


async def test_other_brick_in_its_place_is_foreign(tmp_path: Path) -> None:
    """A folder with the same number but another uuid is never taken for the brick, at a probe or when reopened."""
    bricks, _ = make(tmp_path, 1)
    shutil.rmtree(tmp_path / "1")
    create_brick(tmp_path / "1", VOLUME, ONE).close()
    for _ in range(2):
        assert not await bricks.inspect(ONE)
        assert bricks.condition(ONE).condition is Condition.FOREIGN


async def test_deleted_shards_folder_counts_as_gone_and_comes_back_empty(tmp_path: Path) -> None:
    """A brick that lost all shards but not its superblock appears anew, so that what it holds is compared."""
    bricks, _ = make(tmp_path, 1)
    shutil.rmtree(tmp_path / "1" / "shards")
    assert not await bricks.inspect(ONE)
    assert await bricks.inspect(ONE)
    assert bricks.appearances(ONE) == 2


async def test_an_older_copy_of_the_folder_appears_anew(tmp_path: Path) -> None:
    """Its superblock is right, and what it holds is not: it must be compared with the records."""
    bricks, _ = make(tmp_path, 1)
    before = bricks.appearances(ONE)
    shutil.copytree(tmp_path / "1", tmp_path / "copy")
    shutil.rmtree(tmp_path / "1")
    (tmp_path / "copy").rename(tmp_path / "1")
    assert not await bricks.inspect(ONE)
    assert await bricks.inspect(ONE)
    assert bricks.appearances(ONE) > before


async def test_a_brick_whose_shard_folders_are_gone_appears_anew(tmp_path: Path) -> None:
    """All of them or one: they are made again, and what they held is missed."""
    bricks, _ = make(tmp_path, 1)
    before = bricks.appearances(ONE)
    shutil.rmtree(tmp_path / "1" / "shards" / "7f")
    assert not await bricks.inspect(ONE)
    assert await bricks.inspect(ONE)
    assert bricks.appearances(ONE) > before


async def test_one_superblock_is_enough(tmp_path: Path) -> None:
    """A probe passes with one good copy."""
    bricks, _ = make(tmp_path, 1)
    (tmp_path / "1" / "superblock").write_bytes(b"rot")
    assert await bricks.inspect(ONE)


async def test_brick_that_does_not_answer_is_faulted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that hangs costs one thread, not the prober; when it answers, the brick is looked for again."""
    monkeypatch.setattr(module, "_ANSWER_S_MAX", 0.05)
    bricks, made = make(tmp_path, 1)
    gate = threading.Event()
    monkeypatch.setattr(made[1], "probe", lambda: gate.wait(10))
    assert not await bricks.inspect(ONE)
    assert bricks.condition(ONE).condition is Condition.FAULTED
    assert not await bricks.inspect(ONE)
    gate.set()
    with trio.fail_after(5):
        while not await bricks.inspect(ONE):
            await trio.lowlevel.checkpoint()
    assert bricks.condition(ONE).condition is Condition.ONLINE


async def test_expected_brick_is_taken_when_it_comes(tmp_path: Path) -> None:
    """A brick that was not here at the start is known, and attached when it is found; one without uuid too."""
    made = create_brick(tmp_path / "1", VOLUME, ONE)
    bricks = Bricks()
    bricks.expect(record(1, made.uuid), reopener(tmp_path / "1", 1), "not mounted")
    bricks.expect(record(2, b""), vanished, "not mounted")
    assert bricks.condition(ONE).evidence == "not mounted"
    assert await bricks.inspect(ONE)
    assert not await bricks.inspect(BrickId(2))
    assert bricks.condition(BrickId(2)).evidence == "nothing is there"


@pytest.mark.parametrize(
    ("standing", "readable", "takes"),
    [(Standing.ACTIVE, True, True), (Standing.DRAINING, True, False), (Standing.EJECTED, True, False),
     (Standing.REMOVED, False, False)],
)  # fmt: skip
async def test_standing_says_what_a_brick_is_used_for(
    tmp_path: Path, standing: Standing, readable: bool, takes: bool
) -> None:
    """Draining and ejected bricks are read and not written, removed ones neither; ejected ones are read last."""
    bricks, made = make(tmp_path, 1)
    bricks.update(record(1, made[1].uuid, standing=standing))
    assert (bricks.find(ONE) is not None, bool(bricks.writable())) == (readable, takes)
    assert bricks.doubtful(ONE) is (standing is Standing.EJECTED)


async def test_errors_make_a_suspect(tmp_path: Path) -> None:
    """Errors of the disk speak against a brick; a missing file, a damaged shard or a full disk do not."""
    bricks, _ = make(tmp_path, 3)
    for number, failure in ((1, CorruptShard("x")), (1, ShardMissing("x")), (2, BrickFault("I/O error"))):
        for _ in range(ERRORS_SUSPECTED):
            bricks.report(BrickId(number), 0.001, failure)
    harmless = BrickFault("exists")
    harmless.__cause__ = OSError(errno.EEXIST, "exists")
    for _ in range(ERRORS_SUSPECTED):
        bricks.report(BrickId(3), 0.001, harmless)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bricks.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [bricks.condition(BrickId(n)).condition for n in (1, 2, 3)] == ["online", "suspected", "online"]
    assert "I/O error" in bricks.condition(BrickId(2)).evidence
    assert bricks.find(BrickId(2)) is not None
    assert takers(bricks) == [1, 3]
    verdict = bricks.verdict(BrickId(2))
    assert verdict is not None
    assert verdict.verdict is Verdict.SUSPECTED


async def test_full_device_takes_nothing_until_it_is_measured(tmp_path: Path) -> None:
    """One brick's ENOSPC holds for all on its device, also within the reserve; measuring sees what is free."""
    bricks, _ = make(tmp_path, 2)
    bricks.report(ONE, 0.1, NoSpace("full"))
    assert not bricks.writable(within_reserve=True)
    bricks.measure()
    assert takers(bricks) == [1, 2]


async def test_reserve_is_for_healing(tmp_path: Path) -> None:
    """What is kept back is not offered to new segments; the reserve is offered to who asks for it."""
    bricks, made = make(tmp_path, 1)
    space = made[1].space()
    bricks.keep_back(space.device, space.free - (64 << 20))
    bricks.measure()
    assert not bricks.writable()
    assert bricks.writable(within_reserve=True)


async def test_late_write_keeps_others_away(tmp_path: Path) -> None:
    """While a write that was given up may still be in a brick, nothing new is placed there."""
    bricks, _ = make(tmp_path, 2)
    bricks.write_is_late(ONE)
    assert bricks.is_late(ONE)
    assert takers(bricks) == [2]
    bricks.write_ended(ONE)
    assert takers(bricks) == [1, 2]


async def test_detached_brick_is_forgotten(tmp_path: Path) -> None:
    """Nothing is known of it any more, and reports about it are passed over."""
    bricks, _ = make(tmp_path, 1)
    bricks.detach(ONE)
    bricks.report(ONE, 0.1, BrickFault("late"))
    assert (dict(bricks.online()), bricks.condition(ONE).condition) == ({}, Condition.MISSING)
    assert not await bricks.inspect(ONE)
