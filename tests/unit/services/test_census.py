"""What lies on a brick."""

from pathlib import Path

from dwd.model.ids import BrickId, SegmentId, ShardIndex
from dwd.services.census import Census, shards_on
from tests.unit.services.plant import Plant


async def test_a_census_knows_every_shard_and_no_other(tmp_path: Path) -> None:
    """Also for ids that differ only in their last byte, which shares its place with the index."""
    plant = Plant(tmp_path)
    segments = await plant.fill(5)
    brick = plant.bricks.find(BrickId(2))
    assert brick is not None
    here = set(brick.list_shards())
    census = Census(SegmentId(1 << 62))
    await census.take(brick)
    assert len(census) == len(here) == 5
    for segment in segments:
        for index in map(ShardIndex, range(32)):
            assert ((segment, index) in census) == ((segment, index) in here)
            assert (SegmentId(segment + 256), index) not in census


async def test_a_listing_comes_in_pieces(tmp_path: Path) -> None:
    """All of it, each once."""
    plant = Plant(tmp_path)
    brick = plant.bricks.find(BrickId(1))
    assert brick is not None
    for number in range(1100):
        (plant.path(1) / "shards" / f"{number % 256:02x}" / f"{number:016x}.3").touch()
    pieces = [piece async for piece in shards_on(brick)]
    assert [len(piece) for piece in pieces] == [512, 512, 76]
    assert {segment for piece in pieces for segment, _ in piece} == set(range(1100))
