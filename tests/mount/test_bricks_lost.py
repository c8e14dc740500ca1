"""Any m bricks may go while the volume is in use: nothing fails, nothing is wrong, protection comes back by itself."""

import itertools
import os
import shutil
from collections.abc import Callable

import pytest

from tests.mount.bricks import BRICKS, Load, brick, lose, make_files, wait_until_protected, wrong
from tests.mount.volume import Volume, dwd, wait_until

pytestmark = [pytest.mark.mount, pytest.mark.slow]

_PAIRS = list(itertools.combinations(range(1, BRICKS + 1), 2))


def _replace(volume: Volume, number: int, generation: int) -> None:
    folder = volume.root / f"new{number}-{generation}"
    folder.mkdir()
    dwd("brick", "replace", "--data", volume.data, number, folder)


def test_every_pair_of_bricks_deleted_under_load(volume: Volume) -> None:
    """4+2 on six bricks, all 15 pairs, one after the other: every SHA-256 right, no operation failed, full again."""
    volume.announce("brick")
    files = make_files(volume.path, 1, 24)
    busy = volume.path / "busy"
    busy.mkdir()
    load = Load(busy)
    load.start()
    try:
        for generation, pair in enumerate(_PAIRS):
            before = load.operations
            for number in pair:
                lose(brick(volume, number))
            wait_until(load.goes_on(before), "the load goes on", 60)
            assert not load.problems, (pair, load.problems)
            assert wrong(files) == [], pair
            wait_until(lambda: volume.ask("status")["state"] == "degraded", "the loss is noticed", 20)
            for number in pair:
                _replace(volume, number, generation)
            wait_until_protected(volume)
            assert wrong(files) == [], pair
    finally:
        load.stop()
    assert not load.problems
    volume.assert_sound()
    volume.remount()
    assert wrong(files) == []


def test_metadata_survives_the_loss_of_bricks_and_of_its_own_folder(volumes: Callable[[], Volume]) -> None:
    """Mirrors forced on three bricks of one disk: two bricks and DATA's own metadata go, and nothing is lost."""
    volume = volumes()
    volume.mount("--metadata-mirrors", "3")
    volume.announce("brick|mirror|metadata")
    files = make_files(volume.path, 2, 16)
    wait_until_protected(volume)
    mirrors = [each["id"] for each in volume.ask("brick ls")["bricks"] if each["metadata"]]
    assert len(mirrors) == 3
    for number in mirrors[:2]:
        lose(brick(volume, number))
    killed = volume.kill_daemon()
    for name in ("identity", "wal", "store"):
        path = volume.data / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    volume.wait_for_another_daemon(killed)
    assert wrong(files) == []
    (volume.path / "after").write_bytes(b"life goes on")
    for generation, number in enumerate(mirrors[:2]):
        _replace(volume, number, generation)
    wait_until_protected(volume)
    volume.assert_sound()
    volume.remount()
    assert (volume.path / "after").read_bytes() == b"life goes on"
    assert wrong(files) == []


def test_a_brick_that_was_away_is_completed_and_not_rebuilt(volume: Volume) -> None:
    """Its shards stay as they are; it gets those that were written meanwhile, and loses those that were deleted."""
    volume.announce("brick")
    files = make_files(volume.path, 3, 16)
    gone = volume.path / "file0"
    home = brick(volume, 3)
    away = home.with_name("away")
    home.rename(away)
    wait_until(lambda: volume.ask("status")["state"] == "degraded", "the loss is noticed", 20)
    kept = {path.name: path.stat().st_ino for path in (away / "shards").glob("*/*")}
    gone.unlink()
    del files[gone]
    new = volume.path / "new"
    new.write_bytes(os.urandom(6 << 20))
    os.sync()
    away.rename(home)
    wait_until_protected(volume)
    now = {path.name: path.stat().st_ino for path in (home / "shards").glob("*/*")}
    same = [name for name, inode in kept.items() if now.get(name) == inode]
    assert len(same) >= len(kept) * 0.7, (len(same), len(kept))
    assert set(now) - set(kept)
    assert wrong(files) == []
    volume.assert_sound()


def test_bricks_that_changed_places_are_taken_for_what_they_say(volume: Volume) -> None:
    """As disks do at a reboot: found at each other's paths, all of them in service at once."""
    files = make_files(volume.path, 7, 8)
    volume.unmount()
    volume.stop_daemon()
    bricks = volume.data / "bricks"
    for old, new in (("0", "x"), ("3", "0"), ("x", "3")):
        (bricks / old).rename(bricks / new)
    volume.mount()
    status = wait_until_protected(volume)
    assert {each["id"]: each["path"] for each in status["bricks"]}[1] == str(bricks / "3")
    assert wrong(files) == []
    volume.assert_sound()


@pytest.mark.parametrize("made", [False, True])
def test_a_lost_brick_is_replaced_in_its_own_place(made: bool, volume: Volume) -> None:
    """An empty disk is mounted where the dead one was: absent or made anew, its folder is the same."""
    files = make_files(volume.path, 8, 8)
    folder = brick(volume, 2)
    lose(folder)
    wait_until(lambda: volume.ask("status")["state"] == "degraded", "the loss is noticed", 20)
    if made:
        folder.mkdir()
    dwd("brick", "replace", "--data", volume.data, 2, folder)
    wait_until_protected(volume)
    assert wrong(files) == []
    volume.assert_sound()
