"""The survey: each defect is found when the store is tampered with, and nothing in what is sound."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from dwd.model.ids import NO_BRICK, ROOT, BrickId, InodeNumber, NodeId, SegmentId
from dwd.model.segment import Extent
from dwd.model.topology import Standing
from dwd.namespace import keys, records
from dwd.namespace.commands import Link, PutBrick, PutConversion, SetAttributes, SetPolicy, SetXattr, Unlink
from dwd.namespace.records import ConversionRecord, ConversionState, EntryRecord, OrphanRecord, PolicyRecord
from dwd.namespace.survey import survey
from tests.unit.namespace.volume import DIRECTORY, LINK, MIRROR, RS, SEED, Volume

FILE, INLINE, SUB = InodeNumber(2), InodeNumber(3), InodeNumber(4)
SEGMENT = SegmentId((1 << 40) + 1)


def populated() -> Volume:
    """Something of every table."""
    volume = Volume()
    volume.make(b"file")
    volume.make(b"inline")
    volume.make(b"sub", DIRECTORY)
    volume.make(b"link", LINK, SUB)
    volume.make(b"gone")
    volume.write(FILE, 0, b"a" * 100)
    volume.write(FILE, 200, b"b" * 100)
    volume.write(INLINE, 5, b"inline", inline=True)
    volume.do(Link(FILE, SUB, b"again"))
    volume.do(SetXattr(FILE, b"user.a", b"b"))
    volume.do(Unlink(ROOT, b"gone"))
    for brick in (1, 2):
        volume.do(PutBrick(BrickId(brick), bytes([brick]) * 16, NodeId(1), 1.0, Standing.ACTIVE, "", ""))
    volume.do(SetPolicy(SUB, RS))
    volume.do(PutConversion(SUB, RS, None, ConversionState.RUNNING))
    return volume


def put_inode(volume: Volume, number: InodeNumber, **fields: object) -> None:
    """Change an inode behind the namespace's back."""
    volume.store.put(keys.inode(number), records.INODE.encode(replace(volume.inode(number), **fields)))


def put_extent(volume: Volume, number: InodeNumber, offset: int, extent: Extent) -> None:
    """Lay an extent behind the namespace's back."""
    volume.store.put(keys.extent(number, offset), records.EXTENT.encode(extent))


def put_entry(volume: Volume, name: bytes, number: InodeNumber, kind: int, hashed: int | None = None) -> None:
    """Lay an entry of the root behind the namespace's back."""
    key = keys.entry(ROOT, keys.name_hash(name, SEED) if hashed is None else hashed, name)
    volume.store.put(key, records.ENTRY.encode(EntryRecord(volume.state.index, number, kind)))


def change_segment(volume: Volume, **fields: object) -> None:
    """Let a segment say something else."""
    found = volume.state.find_segment(SEGMENT)
    assert found is not None
    volume.store.put(keys.segment(SEGMENT), records.SEGMENT.encode(replace(found, **fields)))


def count(volume: Volume, field: str) -> None:
    """Let a counter of the volume be one too many."""
    setattr(volume.state.volume, field, getattr(volume.state.volume, field) + 1)


def put_brick(volume: Volume, key: int, number: int, standing: Standing = Standing.ACTIVE) -> None:
    """Put the folder of brick 1 under another number behind the namespace's back."""
    known = volume.state.find_brick(BrickId(1))
    assert known is not None
    record = replace(known, id=BrickId(number), standing=standing)
    volume.store.put(keys.brick(BrickId(key)), records.BRICK.encode(record))


def put_policy(volume: Volume, number: InodeNumber) -> None:
    """Lay a policy behind the namespace's back."""
    volume.store.put(keys.policy(number), records.POLICY.encode(PolicyRecord(volume.state.index, MIRROR)))


def put_conversion(volume: Volume, key: InodeNumber, number: InodeNumber) -> None:
    """Lay a conversion behind the namespace's back."""
    record = ConversionRecord(volume.state.index, number, RS, None, ConversionState.RUNNING, 1)
    volume.store.put(keys.conversion(key), records.CONVERSION.encode(record))


def misnumber(volume: Volume) -> None:
    """Let an inode stand under another's key."""
    volume.store.put(keys.inode(InodeNumber(50)), records.INODE.encode(volume.inode(FILE)))


TAMPERED: list[tuple[str, Callable[[Volume], None]]] = [
    ("dangling-entry", lambda v: put_entry(v, b"x", InodeNumber(99), 0o100000)),
    ("wrong-kind", lambda v: put_entry(v, b"file", FILE, 0o040000)),
    ("wrong-parent", lambda v: put_inode(v, SUB, parent=InodeNumber(77))),
    ("misplaced-entry", lambda v: put_entry(v, b"x", FILE, 0o100000, hashed=1)),
    ("overlapping-extents", lambda v: put_extent(v, FILE, 50, Extent(v.state.index, 10, SEGMENT, 0))),
    ("wrong-inline-length", lambda v: put_extent(v, INLINE, 5, Extent(v.state.index, 6, data=b"short"))),
    ("missing-segment", lambda v: v.store.delete(keys.segment(SEGMENT))),
    ("extent-beyond-segment", lambda v: put_extent(v, FILE, 0, Extent(v.state.index, 100, SEGMENT, 1))),
    ("wrong-number", misnumber),
    ("wrong-link-count", lambda v: put_inode(v, FILE, links=3)),
    ("wrong-link-count", lambda v: put_inode(v, ROOT, links=2)),
    ("wrong-entry-count", lambda v: put_inode(v, SUB, size=7)),
    ("wrong-allocation", lambda v: put_inode(v, FILE, allocated=1)),
    ("extent-beyond-size", lambda v: put_inode(v, FILE, size=299)),
    ("wrong-orphan", lambda v: v.store.delete(keys.orphan(InodeNumber(6)))),
    ("wrong-orphan", lambda v: v.store.put(keys.orphan(FILE), records.ORPHAN.encode(OrphanRecord(v.state.index)))),
    ("wrong-live-count", lambda v: change_segment(v, live=99)),
    ("wrong-shard-count", lambda v: change_segment(v, bricks=(BrickId(1), BrickId(2)))),
    ("shards-together", lambda v: change_segment(v, protection=MIRROR, bricks=(BrickId(1), BrickId(1)))),
    ("unknown-brick", lambda v: change_segment(v, bricks=(BrickId(3),))),
    ("wrong-number", lambda v: put_brick(v, 9, 8, Standing.REMOVED)),
    ("repeated-brick", lambda v: put_brick(v, 3, 3)),
    ("dangling-policy", lambda v: put_policy(v, InodeNumber(99))),
    ("dangling-policy", lambda v: put_policy(v, InodeNumber(6))),
    ("wrong-policy", lambda v: put_policy(v, SUB)),
    ("dangling-conversion", lambda v: put_conversion(v, InodeNumber(6), InodeNumber(6))),
    ("wrong-number", lambda v: put_conversion(v, FILE, SUB)),
    ("wrong-inode-total", lambda v: count(v, "inodes")),
    ("wrong-stored-total", lambda v: count(v, "stored_bytes")),
    ("wrong-inline-total", lambda v: count(v, "inline_bytes")),
]


@pytest.mark.parametrize(("code", "tamper"), TAMPERED, ids=[code for code, _ in TAMPERED])
def test_defect_is_found(code: str, tamper: Callable[[Volume], None]) -> None:
    """What does not fit is found under its public code, with a subject to look for."""
    volume = populated()
    tamper(volume)
    found = volume.survey().defects
    assert code in {defect.code for defect in found}
    assert all(defect.subject and defect.detail for defect in found)


def test_sound_volume() -> None:
    """A volume with something of everything is clean, and everything of it is counted."""
    volume = populated()
    found = volume.survey()
    assert found.defects == []
    assert (found.inodes, found.entries, found.extents, found.segments) == (6, 5, 3, 2)
    volume.do(SetAttributes(FILE, size=0))
    assert volume.survey().segments == 2


def test_what_is_no_defect() -> None:
    """A shard that was never placed, shards on a removed brick, and its folder under another number are fine."""
    volume = populated()
    change_segment(volume, protection=MIRROR, bricks=(NO_BRICK, BrickId(3)))
    put_brick(volume, 3, 3, Standing.REMOVED)
    assert volume.survey().defects == []


def test_volume_of_before_bricks_were_registered() -> None:
    """With no row in table K any brick may be named."""
    volume = Volume()
    volume.write(volume.make(b"file").number, 0, b"bytes")
    assert volume.survey().defects == []


def test_progress_is_told() -> None:
    """Whoever waits hears of it, every thousand rows."""
    volume = Volume()
    for i in range(1100):
        volume.make(b"%d" % i)
    told: list[int] = []
    survey(volume.state, told.append)
    assert told == [1024, 2048]
