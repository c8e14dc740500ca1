"""Changing where bricks are: whole, durable, and mirrored."""

from pathlib import Path

import pytest

from dwd.adapters.brick_directory import open_brick
from dwd.adapters.brick_places import BrickPlaces
from dwd.adapters.data_folder import DataFolder, read_identity
from dwd.adapters.volume_making import make_bricks, plan_volume
from dwd.codec.volume_identity import BrickPlace, VolumeIdentity
from dwd.model.errors import BadConfig, VolumeMismatch
from dwd.model.ids import BrickId


@pytest.fixture
def told() -> list[VolumeIdentity]:
    """What the mirrors heard."""
    return []


@pytest.fixture
def places(tmp_path: Path, told: list[VolumeIdentity]) -> BrickPlaces:
    """Two bricks below a data folder."""
    planned = plan_volume(tmp_path / "data", 2, (), None)
    folder = DataFolder.open(tmp_path / "data")
    folder.put_identity(planned)
    make_bricks(folder, planned)
    return BrickPlaces(folder, planned, told.append)


def test_a_brick_is_added(places: BrickPlaces, told: list[VolumeIdentity], tmp_path: Path) -> None:
    """The folder is a brick, the identity names it, and the mirrors hear of it."""
    assert places.add_place(tmp_path / "new", BrickId(7)) == BrickPlace(BrickId(7), str(tmp_path / "new"))
    open_brick(tmp_path / "new", places.identity.volume, BrickId(7)).close()
    assert read_identity(tmp_path / "data") == places.identity == told[-1]
    assert [place.id for place in places.identity.bricks] == [1, 2, 7]
    assert places.add_place(tmp_path / "data" / "bricks" / "8", BrickId(8)).path == "bricks/8"


def test_a_brick_is_replaced(places: BrickPlaces, tmp_path: Path) -> None:
    """The same id in another folder, with a uuid of its own."""
    volume = places.identity.volume
    before = open_brick(places.path(BrickId(1)), volume, BrickId(1))
    places.replace_place(BrickId(1), tmp_path / "new")
    after = open_brick(places.path(BrickId(1)), volume, BrickId(1))
    assert places.path(BrickId(1)) == tmp_path / "new"
    assert before.superblock.uuid != after.superblock.uuid
    before.close()
    after.close()


def test_a_brick_is_dropped(places: BrickPlaces, tmp_path: Path) -> None:
    """It is listed no longer, and its folder stays."""
    path = places.path(BrickId(2))
    places.drop_place(BrickId(2))
    found = read_identity(tmp_path / "data")
    assert found is not None
    assert [place.id for place in found.bricks] == [1]
    assert path.is_dir()
    with pytest.raises(BadConfig, match="no brick 2; there are 1"):
        places.drop_place(BrickId(2))


def test_what_cannot_be_changes_nothing(places: BrickPlaces, told: list[VolumeIdentity], tmp_path: Path) -> None:
    """A folder that is not empty, is a brick already, or an id that is taken."""
    before = places.identity
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis").write_bytes(b"mine")
    with pytest.raises(VolumeMismatch, match="not empty"):
        places.add_place(tmp_path / "full", BrickId(3))
    with pytest.raises(VolumeMismatch, match="not empty"):
        places.replace_place(BrickId(1), tmp_path / "full")
    with pytest.raises(BadConfig, match="brick 2 already"):
        places.add_place(places.path(BrickId(2)), BrickId(3))
    with pytest.raises(BadConfig, match="a brick 2 already"):
        places.add_place(tmp_path / "new", BrickId(2))
    with pytest.raises(BadConfig, match="no brick 9"):
        places.replace_place(BrickId(9), tmp_path / "new")
    assert (places.identity, told) == (before, [])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "folder",
    ["data/bricks/0/in", "data/bricks/0/shards/in", "data/bricks", "data/wal/in", "data/store/in", "data", "."],
)
def test_nothing_of_ours_is_lost_together_with_a_brick(folder: str, places: BrickPlaces, tmp_path: Path) -> None:
    """A brick lies in no other, holds no other, and is not among the metadata."""
    (tmp_path / "data" / "wal").mkdir()
    (tmp_path / "data" / "store").mkdir()
    before = places.identity
    with pytest.raises(BadConfig):
        places.add_place((tmp_path / folder).resolve(), BrickId(9))
    assert places.identity == before
