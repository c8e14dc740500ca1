"""The file `mirrors`, and the seal of a snapshot: pinned bytes, damage found, newer versions refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwd.codec.mirror_set import MirrorSet, decode_mirror_set, encode_mirror_set
from dwd.codec.snapshot_seal import SnapshotSeal, decode_snapshot_seal, encode_snapshot_seal
from dwd.codec.volume_identity import BrickPlace, VolumeIdentity
from dwd.model.errors import CorruptIdentity, CorruptStore
from dwd.model.ids import BrickId, LogIndex, NodeId, VolumeId
from dwd.model.protection import Protection

GOLDEN = Path(__file__).parents[2] / "golden"
IDENTITY = VolumeIdentity(
    VolumeId(bytes(range(16))), NodeId(1), 1_700_000_000_000_000_000, Protection(4, 2),
    (BrickPlace(BrickId(1), "bricks/1"), BrickPlace(BrickId(2), "/mnt/two")), made=True,
)  # fmt: skip
SET = MirrorSet(7, (BrickId(1), BrickId(2)), None, IDENTITY)
SEAL = SnapshotSeal(VolumeId(bytes(range(16))), LogIndex(1234), 12288, bytes(range(32)))


def test_files_have_not_changed() -> None:
    """Version 1 is frozen, and is what docs/FORMATS.md says."""
    assert encode_mirror_set(SET) == (GOLDEN / "mirror_set_v1.bin").read_bytes()
    assert decode_mirror_set((GOLDEN / "mirror_set_v1.bin").read_bytes()) == SET
    assert encode_snapshot_seal(SEAL) == (GOLDEN / "snapshot_seal_v1.bin").read_bytes()
    assert decode_snapshot_seal((GOLDEN / "snapshot_seal_v1.bin").read_bytes()) == SEAL


@given(st.integers(0, len(encode_mirror_set(SET)) - 1), st.integers(1, 255))
def test_any_damage_of_a_set_is_found(at: int, change: int) -> None:
    """A set that a disk changed never says who counts."""
    damaged = bytearray(encode_mirror_set(SET))
    damaged[at] ^= change
    with pytest.raises(CorruptIdentity):
        decode_mirror_set(bytes(damaged))


@given(st.integers(0, 4095), st.integers(1, 255))
def test_any_damage_of_a_seal_is_found(at: int, change: int) -> None:
    """A seal that a disk changed vouches for nothing."""
    damaged = bytearray(encode_snapshot_seal(SEAL))
    damaged[at] ^= change
    with pytest.raises(CorruptStore):
        decode_snapshot_seal(bytes(damaged))
