"""Metadata on several bricks: what is acknowledged outlives the loss of any copies but one, and any kill."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import combinations, count
from pathlib import Path

import pytest

from dwd.adapters.wal_file import FileWal
from dwd.codec.wal_frame import PAGE_BYTES
from dwd.model.errors import CorruptStore, CorruptWal, DataBusy, DwError
from dwd.model.limits import WAL_FILE_BYTES
from tests.unit.adapters.mirrored import Killed, Rig, killed

LOSSES: dict[str, Callable[[Path], object]] = {
    "identity": lambda data: (data / "identity").unlink(),
    "damaged identity": lambda data: (data / "identity").write_bytes(b"dwfs-vol nonsense"),
    "log": lambda data: shutil.rmtree(data / "wal"),
    "state store": lambda data: shutil.rmtree(data / "store"),
    "set of mirrors": lambda data: (data / "mirrors").unlink(),
    "damaged state store": lambda data: (data / "store" / "namespace.db").write_bytes(b"nonsense" * 1000),
    "damaged log": lambda data: _flip(data / "wal" / "0000000000000001.wal", PAGE_BYTES + 60),
    "everything": shutil.rmtree,
}


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where a sync costs nothing: some tests make thousands."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="dwfs-") as name:
        yield Path(name)


@pytest.fixture
def rig(memory: Path) -> Iterator[Rig]:
    """A volume with two mirrors, open."""
    made = Rig.make(memory)
    made.append(3)
    made.turn()
    assert made.counting == {1, 2}
    yield made
    made.kill()


@pytest.mark.parametrize("what", LOSSES)
@pytest.mark.parametrize("clean", [True, False])
def test_a_lost_data_folder_is_restored(rig: Rig, what: str, *, clean: bool) -> None:
    """Any part of it, or all, after a clean stop or a kill; and the volume goes on with its mirrors."""
    rig.append(5)
    rig.close() if clean else rig.kill()
    LOSSES[what](rig.data)
    rig.open(named=tuple(rig.brick(i) for i in (1, 2, 3)))
    rig.assert_nothing_lost()
    assert rig.counting == {1, 2}
    rig.append(2)
    rig.close()
    rig.open()
    rig.assert_nothing_lost()


@pytest.mark.parametrize("gone", [(1,), (2,), (1, 3), (2, 3)])
def test_one_mirror_suffices(rig: Rig, gone: tuple[int, ...]) -> None:
    """The others and all of the data folder may be lost at once."""
    rig.append(5)
    rig.kill()
    shutil.rmtree(rig.data)
    for number in gone:
        shutil.rmtree(rig.brick(number))
    rig.open(named=tuple(rig.brick(i) for i in (1, 2, 3) if i not in gone))
    rig.assert_nothing_lost()
    rig.turn()
    assert len(rig.counting) == min(2, 3 - len(gone))


def test_without_any_copy_nothing_is_made_up(rig: Rig) -> None:
    """The start is refused, and what is left stays as it is."""
    rig.kill()
    shutil.rmtree(rig.data / "wal")
    for number in (1, 2):
        shutil.rmtree(rig.mirror(number).wal)
    with pytest.raises(CorruptWal, match=r"no mirror that counts can be used: brick 1: .*; brick 2: "):
        rig.open()
    assert (rig.data / "store" / "namespace.db").exists()


def test_a_damaged_snapshot_is_not_restored(rig: Rig) -> None:
    """Another mirror is taken; if there is none, the start is refused."""
    rig.kill()
    shutil.rmtree(rig.data / "store")
    _flip(next(rig.mirror(1).path.glob("*.db")), 5000)
    rig.open()
    rig.assert_nothing_lost()
    rig.kill()
    shutil.rmtree(rig.data / "store")
    _flip(next(rig.mirror(2).path.glob("*.db")), 5000)
    with pytest.raises(CorruptStore, match="not what its seal says"):
        rig.open()


def _last_file(directory: Path) -> Path:
    return max(directory.glob("*.wal"))


def test_a_torn_tail_in_any_copy_is_completed(rig: Rig) -> None:
    """Cut the last record at every byte, in one copy after the other: the longest copy wins, and all end alike."""
    rig.append(2)
    rig.kill()
    paths = [_last_file(rig.data / "wal"), _last_file(rig.mirror(1).wal), _last_file(rig.mirror(2).wal)]
    kept = {path: path.read_bytes() for path in paths}
    for path in paths:
        end = len(kept[path].rstrip(b"\0"))
        start = kept[path].rindex(b"\xd7WALrec\n")
        for length in range(start, end):
            for other, content in kept.items():
                other.write_bytes(content)
            path.write_bytes(kept[path][:length].ljust(len(kept[path]), b"\0"))
            rig.open()
            assert rig.recovered == rig.last
            assert rig.counting == {1, 2}
            rig.kill()


def test_a_mirror_that_was_dropped_never_wins(rig: Rig) -> None:
    """It comes back when all others are gone but for their marks: it is refused, for it lacks what was acknowledged."""
    rig.brick(1).rename(rig.root / "away")
    rig.append(3)
    rig.turn()
    assert rig.counting == {2, 3}
    rig.append(3)
    rig.kill()
    (rig.root / "away").rename(rig.brick(1))
    shutil.rmtree(rig.data)
    kept = [rig.mirror(number).wal for number in (2, 3)]
    for wal in kept:
        wal.rename(wal.with_name("aside"))
    with pytest.raises(CorruptWal, match="no mirror that counts"):
        rig.open(named=tuple(rig.brick(i) for i in (1, 2, 3)))
    kept[1].with_name("aside").rename(kept[1])
    rig.open(named=tuple(rig.brick(i) for i in (1, 2, 3)))
    rig.assert_nothing_lost()


def test_a_stale_mirror_is_cleared_and_may_join_again(rig: Rig) -> None:
    """It was away while the volume went on: what it holds is deleted, and it counts only with a new copy."""
    rig.brick(1).rename(rig.root / "away")
    rig.turn()
    (rig.root / "away").rename(rig.brick(1))
    rig.turn()
    assert rig.mirror(1).is_clear()
    shutil.rmtree(rig.brick(3))
    rig.meta.mirrors._resting.clear()
    rig.turn()
    assert rig.counting == {1, 2}
    rig.append()
    rig.kill()
    shutil.rmtree(rig.data)
    shutil.rmtree(rig.brick(2))
    rig.open(named=(rig.brick(1),))
    rig.assert_nothing_lost()


def test_a_data_folder_that_was_left_behind_is_not_believed(rig: Rig) -> None:
    """The volume went on with another data folder: the first one gets the newer state from a mirror."""
    rig.append(2)
    rig.kill()
    rig.data.rename(rig.root / "first")
    rig.open(named=tuple(rig.brick(i) for i in (1, 2, 3)))
    rig.brick(1).rename(rig.root / "away")
    rig.append(5)
    rig.kill()
    shutil.rmtree(rig.data)
    (rig.root / "first").rename(rig.data)
    rig.open()
    rig.assert_nothing_lost()
    assert (rig.data / "damaged" / "wal").exists()


def test_a_second_daemon_cannot_take_the_copies(rig: Rig) -> None:
    """Bricks named with a new data folder are not taken over while their daemon lives."""
    other = Rig(rig.root, rig.root / "other")
    with pytest.raises(DataBusy, match="another dwd serves"):
        other.open(named=(rig.brick(1),))
    assert not (other.data / "identity").exists()


def test_a_mirror_that_fails_is_dropped_before_anything_is_acknowledged_without_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that fails there: the log goes on, and the disks say who counts before sync() returns."""
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        if str(rig.brick(2)) in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    rig.append()
    said = rig.mirror(1).read_set()
    assert said is not None
    assert said.bricks == (1,)
    assert rig.mirror(3).read_set() == said
    assert any("brick 2 lost its metadata mirror" in line for line in rig.meta.mirrors.problems)
    monkeypatch.undo()
    rig.turn()
    assert rig.counting == {1, 3}
    assert rig.meta.mirrors.problems == ()


def test_a_failing_data_folder_loses_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own log fails: that ends the process, with everything acknowledged on the mirrors."""
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        if str(rig.data) in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(5, "Input/output error")
        real(descriptor)

    rig.append(2)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with pytest.raises(DwError, match="Input/output error"):
        rig.append()
    monkeypatch.undo()
    rig.kill()
    shutil.rmtree(rig.data)
    rig.open(named=(rig.brick(2), rig.brick(1), rig.brick(3)))
    rig.assert_nothing_lost()


def test_a_deleted_mirror_is_noticed(rig: Rig) -> None:
    """Files that are open can be written although they have no name: the names are looked at."""
    shutil.rmtree(rig.mirror(2).path)
    rig.turn()
    rig.turn()
    assert rig.counting == {1, 3}
    rig.append()
    rig.kill()
    shutil.rmtree(rig.data / "wal")
    rig.open()
    rig.assert_nothing_lost()


@pytest.mark.parametrize("what", ["wal", "store"])
def test_a_data_folder_that_goes_while_it_is_used_is_noticed(rig: Rig, what: str) -> None:
    """The process ends, and the next start restores it: what was written to files without a name is on the mirrors."""
    shutil.rmtree(rig.data / what)
    rig.append(3)
    with pytest.raises(DwError, match=str(rig.data / what)):
        rig.turn()
    rig.kill()
    rig.open()
    rig.assert_nothing_lost()


def test_a_state_store_that_cannot_be_copied_costs_no_mirror(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror whose new snapshot fails keeps its old one, and its log."""

    def copy_state(path: Path, _: Path) -> None:
        raise CorruptStore(f"{path}: malformed")

    monkeypatch.setattr("dwd.adapters.metadata_mirror.copy_state", copy_state)
    for _ in range(6):
        rig.append(20, size=WAL_FILE_BYTES // 20)
    rig.turn()
    assert rig.counting == {1, 2}
    rig.kill()
    shutil.rmtree(rig.data / "store")
    rig.open()
    rig.assert_nothing_lost()


def test_a_long_log_of_a_mirror_is_forgotten_behind_a_snapshot(rig: Rig) -> None:
    """What a mirror takes on its brick is bounded, and it can be restored from before and after."""
    for _ in range(6):
        rig.append(20, size=WAL_FILE_BYTES // 20)
    copy = rig.meta.wal.copy_of(next(iter(rig.meta.wal.counting)))
    assert isinstance(copy, FileWal)
    assert copy.file_bytes > 64 << 20
    rig.turn()
    assert copy.file_bytes <= 2 * WAL_FILE_BYTES
    assert len(list(rig.mirror(1).path.glob("snapshot*"))) == 2
    rig.append(2)
    rig.kill()
    shutil.rmtree(rig.data)
    rig.open(named=(rig.brick(1), rig.brick(2), rig.brick(3)))
    rig.assert_nothing_lost()


def _kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Callable[[], int]:
    """End the process at the number-th change of a name or sync of a file; says how many there were."""
    seen = count(1)
    made = [0]

    def wrap(function: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **named: object) -> object:
            made[0] = next(seen)
            if made[0] == number:
                raise Killed
            if made[0] > number:
                raise Killed
            return function(*arguments, **named)

        return step

    for module, name in ((os, "fsync"), (os, "fdatasync"), (Path, "rename"), (Path, "unlink"), (shutil, "rmtree")):
        monkeypatch.setattr(module, name, wrap(getattr(module, name)))
    return lambda: made[0]


def _restore_and_check(rig: Rig) -> None:
    """From the data folder, and then from one mirror that counts, without it and the others."""
    rig.open()
    rig.assert_nothing_lost()
    counting = rig.counting
    rig.kill()
    if counting:
        for other in sorted(counting)[1:]:
            shutil.rmtree(rig.mirror(other).path)
        shutil.rmtree(rig.data)
        rig.open(named=tuple(rig.brick(i) for i in (1, 2, 3)))
        rig.assert_nothing_lost()
        rig.kill()


def test_killed_at_every_step_of_becoming_a_mirror(memory: Path) -> None:
    """Log, snapshot, seal, set: wherever it ends, what was acknowledged is there, with and without the data folder."""
    for number in count(1):
        (memory / str(number)).mkdir()
        rig = Rig.make(memory / str(number))
        rig.append(2)
        with pytest.MonkeyPatch.context() as patch:
            steps = _kill_at(patch, number)
            with killed():
                rig.turn()
            ended = steps() < number
        rig.kill()
        _restore_and_check(rig)
        shutil.rmtree(memory / str(number))
        if ended:
            assert number > 30
            return


def test_killed_at_every_step_of_a_restoration(rig: Rig) -> None:
    """The mirrors are not touched by it: it is begun again until it is done."""
    rig.append(4)
    rig.kill()
    for number in count(1):
        shutil.rmtree(rig.data / "wal", ignore_errors=True)
        with pytest.MonkeyPatch.context() as patch:
            steps = _kill_at(patch, number)
            with killed():
                rig.open()
            ended = steps() < number
        rig.kill()
        rig.open()
        rig.assert_nothing_lost()
        rig.kill()
        if ended:
            assert number > 8
            return


def test_every_subset_of_copies_that_leaves_one(memory: Path) -> None:
    """Three mirrors and the data folder: any three of the four may be lost at once."""
    for at, gone in enumerate(combinations(range(4), 3)):
        (memory / str(at)).mkdir()
        rig = Rig.make(memory / str(at), wanted=3)
        rig.append(2)
        rig.turn()
        assert rig.counting == {1, 2, 3}
        rig.append(3)
        rig.kill()
        for number in gone:
            shutil.rmtree(rig.mirror(number).path if number else rig.data)
        rig.open(named=tuple(rig.brick(i) for i in (1, 2, 3)))
        rig.assert_nothing_lost()
        rig.kill()
