import os
import random
import shutil
import struct
from pathlib import Path

import pytest
import xxhash

from dwd.adapters.brick_directory import create_brick, open_brick
from dwd.adapters.brick_identity import make_brick
from dwd.model.errors import BrickFault, FormatTooNew, VolumeMismatch
from dwd.model.ids import BrickId, VolumeId

VOLUME = VolumeId(b"v" * 16)
OTHER = VolumeId(b"w" * 16)
BRICK = BrickId(3)
COPIES = ("superblock", "superblock.copy")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A brick."""
    make_brick(tmp_path / "brick", VOLUME, BRICK)
    return tmp_path / "brick"


def tree(path: Path) -> dict[str, bytes | None]:
    """All that a folder holds."""
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


def test_absent_folder_becomes_a_brick(tmp_path: Path) -> None:
    """Missing parents are made too; all shard folders are there; nobody else may read them."""
    brick = create_brick(tmp_path / "a" / "b", VOLUME, BRICK)
    assert (brick.superblock.volume, brick.id) == (VOLUME, BRICK)
    assert sorted(os.listdir(brick.path)) == ["shards", *COPIES]
    assert len(os.listdir(brick.path / "shards")) == 256
    assert brick.path.stat().st_mode & 0o777 == 0o700


def test_empty_disk_becomes_a_brick(tmp_path: Path) -> None:
    """An empty folder, and the root of a fresh ext4, are as good as absent."""
    (tmp_path / "lost+found").mkdir()
    make_brick(tmp_path, VOLUME, BRICK)
    open_brick(tmp_path, VOLUME, BRICK)


def test_two_bricks_have_distinct_uuids(tmp_path: Path) -> None:
    """A brick made anew under an old number can be told from the old one."""
    assert len({create_brick(tmp_path / name, VOLUME, BRICK).superblock.uuid for name in "ab"}) == 2


def test_folder_with_files_is_refused(tmp_path: Path) -> None:
    """Nothing of somebody else's is touched, and the message names what is there."""
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(VolumeMismatch, match=r"not empty \(it holds thesis.tex\)"):
        make_brick(tmp_path, VOLUME, BRICK)
    assert tree(tmp_path) == {"thesis.tex": b"precious"}


def test_file_in_the_place_of_the_folder_is_a_fault(tmp_path: Path) -> None:
    """A file is no folder."""
    (tmp_path / "brick").write_text("")
    with pytest.raises(BrickFault, match="cannot create the brick"):
        make_brick(tmp_path / "brick", VOLUME, BRICK)


def test_making_again_changes_nothing(path: Path) -> None:
    """The same identity again is no error; the superblock stays."""
    before = tree(path)
    make_brick(path, VOLUME, BRICK)
    assert tree(path) == before


@pytest.mark.parametrize("leftover", [["superblock.new"], ["superblock"], ["superblock", "superblock.copy.new"]])
def test_interrupted_making_is_finished(path: Path, tmp_path: Path, leftover: list[str]) -> None:
    """Wherever a power cut stopped the making, making again gives a whole brick."""
    half = tmp_path / "half"
    half.mkdir()
    for name in leftover:
        page = (path / "superblock").read_bytes()
        (half / name).write_bytes(page if not name.endswith(".new") else page[:100])
    make_brick(half, VOLUME, BRICK)
    open_brick(half, VOLUME, BRICK)
    assert sorted(name for name in os.listdir(half) if not name.endswith(".new")) == ["shards", *COPIES]
    assert (half / COPIES[0]).read_bytes() == (half / COPIES[1]).read_bytes()


def test_brick_of_another_volume_is_refused_with_both_identities(path: Path) -> None:
    """A foreign brick is named, and so is what was expected; making does not take it over."""
    before = tree(path)
    message = f"this is brick 3 of volume {VOLUME.hex()}, but brick 3 of volume {OTHER.hex()} belongs here"
    for attempt in (open_brick, make_brick):
        with pytest.raises(VolumeMismatch, match=message):
            attempt(path, OTHER, BRICK)
    assert tree(path) == before


def test_swapped_brick_is_refused(path: Path) -> None:
    """Two disks of one volume in each other's places are found."""
    with pytest.raises(VolumeMismatch, match=r"this is brick 3 of .*, but brick 4 of .* belongs here; mount the right"):
        open_brick(path, VOLUME, BrickId(4))


def test_missing_folder_is_a_fault(tmp_path: Path) -> None:
    """A folder that is gone is not made anew, and the message says what to do."""
    with pytest.raises(BrickFault, match="there is no such folder; mount its disk"):
        open_brick(tmp_path / "gone", VOLUME, BRICK)
    assert not (tmp_path / "gone").exists()


def test_unmounted_disk_is_a_fault(tmp_path: Path) -> None:
    """The empty mount point of a disk that is not mounted is no brick, and stays empty."""
    with pytest.raises(BrickFault, match=r"no superblock .*if this is not the brick's disk, mount that one"):
        open_brick(tmp_path, VOLUME, BRICK)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("damaged", COPIES)
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "rubbish"])
def test_either_copy_suffices_and_mends_the_other(path: Path, damaged: str, damage: str) -> None:
    """A damaged or missing copy is rewritten from the good one."""
    good = (path / COPIES[0]).read_bytes()
    copy = path / damaged
    match damage:
        case "flip":
            copy.write_bytes(good[:99] + b"x" + good[100:])
        case "cut":
            copy.write_bytes(good[:-1])
        case "gone":
            copy.unlink()
        case _:
            copy.write_bytes(random.Random(1).randbytes(5000))
    open_brick(path, VOLUME, BRICK)
    assert copy.read_bytes() == good


def test_two_damaged_copies_are_a_fault_that_names_both(path: Path) -> None:
    """Without a whole superblock nothing is guessed."""
    for copy in COPIES:
        (path / copy).write_bytes(b"rubbish")
    with pytest.raises(BrickFault, match=r"superblock: the page has 7 bytes.*; superblock\.copy: the page has 7 bytes"):
        open_brick(path, VOLUME, BRICK)


def test_copies_that_disagree_are_refused(path: Path, tmp_path: Path) -> None:
    """Two whole but different superblocks: nobody can say which is right."""
    make_brick(tmp_path / "other", VOLUME, BrickId(4))
    shutil.copy(tmp_path / "other" / "superblock", path / "superblock.copy")
    with pytest.raises(VolumeMismatch, match=r"superblocks disagree: brick 3 .*, and brick 4"):
        open_brick(path, VOLUME, BRICK)


@pytest.mark.parametrize("copy", COPIES)
def test_superblock_of_a_newer_version_is_refused_and_kept(path: Path, copy: str) -> None:
    """Even when the other copy is readable, nothing is written over a newer one."""
    page = (path / copy).read_bytes()
    newer = page[:8] + struct.pack("<I", 2) + page[12:-8]
    newer += struct.pack("<Q", xxhash.xxh3_64_intdigest(newer))
    (path / copy).write_bytes(newer)
    with pytest.raises(FormatTooNew, match=f"{path}: {copy}: format version 2.*use the program that made it"):
        open_brick(path, VOLUME, BRICK)
    assert (path / copy).read_bytes() == newer


def test_opening_leaves_no_probe_and_makes_lost_shard_folders(path: Path) -> None:
    """A probe left by a crash does not hinder, and a brick without some shard folders gets them back."""
    (path / "probe").write_text("left over")
    (path / "shards" / "7f").rmdir()
    open_brick(path, VOLUME, BRICK)
    assert sorted(os.listdir(path)) == ["shards", *COPIES]
    assert len(os.listdir(path / "shards")) == 256
