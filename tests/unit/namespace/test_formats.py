"""What the namespace leaves on disks: commands, outcomes and records, pinned byte by byte."""

from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest
from msgspec.structs import replace

from dwd.model.ids import BrickId, Epoch, InodeNumber, LogIndex, NodeId, RequestNumber, SegmentId, SessionId
from dwd.model.inode import Inode
from dwd.model.protection import Protection
from dwd.model.segment import Extent, Placed, Segment
from dwd.model.topology import Standing
from dwd.namespace import records
from dwd.namespace.commands import (
    CloseSession,
    Command,
    DropConversion,
    FileData,
    ForgetSegments,
    Link,
    MakeNode,
    MakeVolume,
    NoteScrub,
    OpenEpoch,
    OpenSession,
    Operation,
    PutBrick,
    PutConversion,
    Reap,
    Rehouse,
    Relocate,
    Relocation,
    RemoveDirectory,
    RemoveXattr,
    Rename,
    SetAttributes,
    SetPolicy,
    SetProtection,
    SetXattr,
    StoreData,
    Unlink,
    decode_command,
    encode_command,
)
from dwd.namespace.outcomes import Done, Outcome, Refused, pack_outcome, unpack_outcome
from dwd.namespace.records import (
    BrickRecord,
    ContentsRecord,
    ConversionRecord,
    ConversionState,
    EntryRecord,
    InlineRecord,
    OrphanRecord,
    PolicyRecord,
    ScrubRecord,
    SessionRecord,
    VolumeRecord,
    XattrRecord,
)

GOLDEN: Final = Path(__file__).parents[2] / "golden"
FILE, PARENT, LARGE = InodeNumber(2), InodeNumber(1), InodeNumber(1 << 47)
SESSION = SessionId(bytes(range(16)))
SEGMENT = Segment(
    LogIndex(9),
    SegmentId((1 << 40) + 1),
    Protection(4, 2),
    300,
    200,
    (BrickId(1), BrickId(0), BrickId(3)),
    bytes(range(32)),
)
RS, COPIES = Protection(4, 2), Protection(1, 2)
FALLBACK = replace(SEGMENT, protection=COPIES, wanted=RS)
OPERATIONS: list[Operation] = [
    MakeNode(PARENT, b"\xff", LARGE, 0o100644, 1000, 1001, 0x801, b"target"),
    Link(FILE, PARENT, b"b"),
    Unlink(PARENT, b"a"),
    RemoveDirectory(PARENT, b"a"),
    Rename(PARENT, b"a", FILE, b"b", replace=False, exchange=True),
    SetAttributes(FILE, 0o600, 1, 2, 3, -4, 5, privileged=True),
    SetXattr(FILE, b"user.a", b"v", create=True, replace=True),
    RemoveXattr(FILE, b"user.a"),
    StoreData(SEGMENT, (FileData(FILE, ((4096, 200, 100),), ((0, b"x"),), 5, None),)),
    Relocate(SEGMENT, (Relocation(FILE, 4096, 200, 8, 100),)),
    Reap((FILE,)),
    ForgetSegments((SegmentId(5),)),
    OpenSession(SESSION, "/mnt"),
    CloseSession(SESSION),
    OpenEpoch(),
    MakeVolume(7, 0, 0, 0o755),
    SetProtection(FILE, RS, LogIndex(8)),
    SetPolicy(FILE, None),
    Rehouse(SEGMENT.id, SEGMENT.bricks, (BrickId(1), BrickId(2), BrickId(3))),
    PutBrick(BrickId(3), bytes(range(16)), NodeId(1), 1.5, Standing.DRAINING, "rack 1", "by hand"),
    PutConversion(FILE, RS, None, ConversionState.PAUSED),
    DropConversion(FILE),
    NoteScrub(5, SEGMENT.id, 0, 7, 300, 1),
]
INODE = Inode(LogIndex(9), FILE, 0o100644, 1, 1000, 1001, 5, 6, 7, 300, 200, 0, InodeNumber(0), b"", 12)
PROTECTED = replace(INODE, protection=RS)
OUTCOMES: list[Outcome] = [Done((PROTECTED,), (LARGE,), 3), Done(), Refused(2)]
BRICK = BrickRecord(
    LogIndex(9), BrickId(3), bytes(range(16)), NodeId(1), 1.5, Standing.DRAINING, "rack 1", "by hand", 5
)
CONVERSION = ConversionRecord(LogIndex(9), FILE, RS, None, ConversionState.PAUSED, 5)
RECORDS: dict[str, tuple[msgspec.Struct, records.Format[object]]] = {
    "V": (VolumeRecord(LogIndex(9), 7, 5, Epoch(2), 12, 11, 10, 9), records.VOLUME),  # type: ignore[dict-item]
    "I": (INODE, records.INODE),  # type: ignore[dict-item]
    "D": (EntryRecord(LogIndex(9), FILE, 0o100000), records.ENTRY),  # type: ignore[dict-item]
    "X": (XattrRecord(LogIndex(9), b"value"), records.XATTR),  # type: ignore[dict-item]
    "E": (Extent(LogIndex(9), 200, SegmentId((1 << 40) + 1), 100), records.EXTENT),  # type: ignore[dict-item]
    "E-inline": (Extent(LogIndex(9), 3, data=b"abc"), records.EXTENT),  # type: ignore[dict-item]
    "B": (InlineRecord(LogIndex(9), 3), records.INLINE),  # type: ignore[dict-item]
    "S": (SEGMENT, records.SEGMENT),  # type: ignore[dict-item]
    "T": (ContentsRecord(LogIndex(9), (Placed(FILE, 4096, 200, 100),)), records.CONTENTS),  # type: ignore[dict-item]
    "O": (OrphanRecord(LogIndex(9)), records.ORPHAN),  # type: ignore[dict-item]
    "I-protected": (PROTECTED, records.INODE),  # type: ignore[dict-item]
    "S-fallback": (FALLBACK, records.SEGMENT),  # type: ignore[dict-item]
    "P": (PolicyRecord(LogIndex(9), RS, COPIES), records.POLICY),  # type: ignore[dict-item]
    "K": (BRICK, records.BRICK),  # type: ignore[dict-item]
    "J": (CONVERSION, records.CONVERSION),  # type: ignore[dict-item]
    "C": (ScrubRecord(LogIndex(9), 5, SEGMENT.id, 0, 7, 300, 1), records.SCRUB),  # type: ignore[dict-item]
    "M": (SessionRecord(LogIndex(9), "/mnt", 5, RequestNumber(4)), records.SESSION),  # type: ignore[dict-item]
}


def command(operation: Operation) -> Command:
    """A command of a session."""
    return Command(1_700_000_000_000_000_000, operation, SESSION, RequestNumber(5), RequestNumber(4))


def pinned(name: str) -> dict[str, bytes]:
    """A golden file: a line for each value, its name and its bytes."""
    lines = (GOLDEN / name).read_text().splitlines()
    return {key: bytes.fromhex(value) for key, value in (line.split() for line in lines)}


def test_commands_have_not_changed() -> None:
    """Every log that was ever written can be replayed, and the same commands are written as ever."""
    golden = pinned("commands_v1.1.txt")
    assert {type(o) for o in OPERATIONS} == set(get_args(Operation))
    assert golden.keys() == {type(o).__name__ for o in OPERATIONS}
    for operation in OPERATIONS:
        raw = golden[type(operation).__name__]
        assert encode_command(command(operation)) == raw
        assert decode_command(raw) == command(operation)


def test_outcomes_have_not_changed() -> None:
    """Every outcome that was ever kept can be given to a retry."""
    golden = pinned("outcomes_v1.1.txt")
    for name, outcome in zip(("Done", "Done-empty", "Refused"), OUTCOMES, strict=True):
        assert pack_outcome(outcome) == golden.pop(name)
        assert unpack_outcome(pack_outcome(outcome)) == outcome
    assert not golden


def test_records_have_not_changed() -> None:
    """Every value of every table can be read for ever."""
    golden = pinned("records_v1.1.txt")
    assert golden.keys() == RECORDS.keys()
    for name, (record, layout) in RECORDS.items():
        assert layout.encode(record) == golden[name]
        assert layout.decode(golden[name]) == record


def test_what_was_written_before_fields_were_added() -> None:
    """A log, a store and kept outcomes of before protections were a file's own are read: absent is the volume's."""
    commands = pinned("commands_v1.txt")
    for operation in OPERATIONS[: len(commands)]:
        assert decode_command(commands[type(operation).__name__]) == command(operation)
    for name, raw in pinned("records_v1.txt").items():
        record, layout = RECORDS[name]
        assert layout.decode(raw) == record
    assert unpack_outcome(pinned("outcomes_v1.txt")["Done"]) == Done((INODE,), (LARGE,), 3)


@pytest.mark.parametrize(
    ("operation", "raw"),
    [
        (Unlink(PARENT, b"a"), b"\x93\x03\x01\xc4\x01a"),
        (Link(FILE, PARENT, b"b"), b"\x94\x02\x02\x01\xc4\x01b"),
        (Rename(PARENT, b"a", FILE, b"b"), b"\x97\x05\x01\xc4\x01a\x02\xc4\x01b\xc3\xc2"),
        (SetAttributes(FILE, size=0), b"\x99\x06\x02\xc0\xc0\xc0\x00\xc0\xc0\xc2"),
        (Reap((FILE,)), b"\x92\x0b\x91\x02"),
        (OpenEpoch(), b"\x91\x0f"),
        (SetProtection(FILE, Protection(4, 2)), b"\x94\x11\x02\x92\x04\x02\x00"),
        (SetPolicy(FILE, None), b"\x93\x12\x02\xc0"),
        (DropConversion(FILE), b"\x92\x16\x02"),
        (
            StoreData(None, (FileData(FILE, (), ((9, b"x"),)),)),
            b"\x93\x09\xc0\x91\x95\x02\x90\x91\x92\x09\xc4\x01x\xc0\xc0",
        ),
    ],
)
def test_commands_by_hand(operation: Operation, raw: bytes) -> None:
    """A command is [time, [tag, fields...], session, request, answered] in msgpack."""
    assert encode_command(Command(5, operation)) == b"\x95\x05" + raw + b"\xc4\x00\x00\x00"


def test_outcome_by_hand() -> None:
    """An outcome is boxed: [[tag, fields...]]."""
    assert pack_outcome(Refused(2)) == b"\x91\x92\x02\x02"
    assert pack_outcome(Done()) == b"\x91\x94\x01\x90\x90\x00"


def test_later_fields() -> None:
    """A record with a field that this program does not know, and one of before a field was added, are read."""
    assert records.ENTRY.decode(b"\x94\x09\x02\xcd\x80\x00\xa3new") == EntryRecord(LogIndex(9), FILE, 0o100000)
    assert records.EXTENT.decode(b"\x92\x09\x03") == Extent(LogIndex(9), 3)
