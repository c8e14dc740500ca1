"""apply(): total, deterministic, and a refusal leaves no trace but the session's memory of it."""

import errno
import random
from typing import get_args

import msgspec
import pytest

from dwd.model.checks import InvariantViolated
from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import ROOT, BrickId, InodeNumber, LogIndex, NodeId, RequestNumber, SegmentId, SessionId
from dwd.model.protection import Protection
from dwd.model.topology import Standing
from dwd.namespace import tree
from dwd.namespace.apply import apply
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
from dwd.namespace.records import ConversionState
from dwd.namespace.state import State
from dwd.namespace.store_memory import MemoryStore
from tests.unit.namespace.volume import DIRECTORY, FILE, Volume

SESSION = SessionId(b"s" * 16)
NAMES = [b"a", b"b", b"\xff", b"d", b"bad/name"]


def random_operation(volume: Volume, draw: random.Random) -> Operation:
    """Any operation with any plausible, or wrong, arguments."""
    number = InodeNumber(draw.randint(1, 12))
    parent, other = (InodeNumber(draw.choice([1, 1, 1, 2, 3, 99])) for _ in range(2))
    name, new = draw.choice(NAMES), draw.choice(NAMES)
    moves = tuple(
        Relocation(number, offset, e.length, e.changed - draw.randint(0, 1), 10 * i)
        for i, (offset, e) in enumerate(volume.state.extents(number, 0, 100))
    )
    protection = draw.choice([None, Protection(4, 2), Protection(1, 1), Protection(1, 1), Protection(0, 1)])
    segment = draw.choice([*volume.state.segments(b"S"), volume.segment(b"x")])
    brick = BrickId(draw.randint(0, 5))
    uuid = bytes([brick]) * 16
    choices: list[Operation] = [
        MakeNode(parent, name, volume.next_number, draw.choice([FILE, DIRECTORY, 0o120777, 0]), 1, 2, 3, b""),
        MakeNode(parent, name, volume.next_number, draw.choice([FILE, DIRECTORY]), 1, 2),
        Link(number, parent, name),
        Unlink(parent, name),
        RemoveDirectory(parent, name),
        Rename(parent, name, other, new, draw.random() < 0.7, draw.random() < 0.3),
        SetAttributes(number, draw.choice([None, 0o700]), None, 5, draw.choice([None, 0, 7, 1 << 50]), None, 9),
        SetXattr(number, b"user." + name, new),
        RemoveXattr(number, b"user." + name),
        StoreData(volume.segment(b"x" * 20), (FileData(number, ((draw.randint(0, 20), 9, 0), (3, 9, 9))),)),
        StoreData(None, (FileData(number, (), ((draw.randint(0, 20), b"inline"),), 5, 6),)),
        Relocate(volume.segment(b"x" * 100), moves[:10]),
        Reap(tuple(volume.state.orphans())[:3]),
        ForgetSegments(tuple(s.id for s in volume.state.segments(b"G"))),
        OpenSession(SessionId(b"t" * 16), "label"),
        CloseSession(SessionId(b"t" * 16)),
        OpenEpoch(),
        MakeVolume(1, 2, 3, 4),
        SetProtection(number, protection, LogIndex(draw.choice([0, 0, 7]))),
        SetPolicy(number, protection),
        Rehouse(segment.id, draw.choice([segment.bricks, (BrickId(9),)]), (BrickId(draw.randint(0, 5)),)),
        PutBrick(brick, uuid, NodeId(1), draw.choice([1.0, 0.5, -1.0]), draw.choice(list(Standing)), "d", "n"),
        PutConversion(number, protection, None, draw.choice(list(ConversionState))),
        DropConversion(number),
        NoteScrub(1, SegmentId(2), 3, 4, 5, 6),
    ]
    assert {type(c) for c in choices} == set(get_args(Operation))
    return draw.choice(choices)


def history(seed: int, length: int = 400) -> tuple[Volume, list[Outcome]]:
    """A log of random commands, and what each came to."""
    volume, draw = Volume(), random.Random(seed)
    outcomes = [volume.outcome(OpenSession(SESSION, "/mnt"))]
    for brick in range(1, 6):
        put = PutBrick(BrickId(brick), bytes([brick]) * 16, NodeId(1), 1.0, Standing.ACTIVE, "d", "")
        outcomes.append(volume.outcome(put))
    for request in range(1, length):
        operation = random_operation(volume, draw)
        session = SESSION if draw.random() < 0.5 else SessionId(b"")
        outcomes.append(volume.outcome(operation, session, request if session else 0, max(0, request - 20)))
    return volume, outcomes


def replayed(log: list[Command], store: MemoryStore, first: int) -> list[Outcome]:
    """Apply the log from `first` on, from its bytes, as a daemon that starts again does."""
    state = State(store)
    return [apply(state, LogIndex(i + 1), decode_command(encode_command(log[i]))) for i in range(first, len(log))]


@pytest.mark.parametrize("seed", range(4))
def test_deterministic(seed: int) -> None:
    """The same log, read from its bytes, gives the same outcomes and the same store, byte for byte; and a clean one."""
    volume, outcomes = history(seed)
    volume.check()
    again = MemoryStore()
    assert replayed(volume.log, again, 0)[1:] == outcomes
    assert dict(again.range(b"", b"\xff")) == volume.rows()
    assert {type(o) for o in outcomes} == {Done, Refused}


@pytest.mark.parametrize("seed", range(2))
def test_replay_from_any_prefix(seed: int) -> None:
    """A state that is read back from its store goes on as one that was never put down."""
    volume, _ = history(seed)
    for cut in (1, 2, 50, 399):
        store = MemoryStore()
        replayed(volume.log[:cut], store, 0)
        replayed(volume.log, store, cut)
        assert dict(store.range(b"", b"\xff")) == volume.rows()


def test_every_record_says_when_it_changed() -> None:
    """The first field of each value is the index of the command that put it."""
    volume, _ = history(9)
    seen = set(volume.rows().items())
    volume.outcome(MakeNode(ROOT, b"new", volume.next_number, FILE, 0, 0))
    for _, value in set(volume.rows().items()) - seen:
        assert msgspec.msgpack.decode(value)[0] == len(volume.log)


def test_refusal_leaves_only_its_outcome(volume: Volume) -> None:
    """With a session, a refused command adds one row to table Q and moves its watermark, nothing else."""
    volume.do(OpenSession(SESSION, "/mnt"))
    volume.outcome(Unlink(ROOT, b"none"), SESSION, 1)
    before = volume.rows()
    assert volume.outcome(Unlink(ROOT, b"none"), SESSION, 2, 0) == Refused(errno.ENOENT)
    assert {key[:1] for key, _ in set(volume.rows().items()) ^ set(before.items())} == {b"Q"}


def test_refusal_after_a_change_is_a_bug(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that refuses after it wrote something stops the process (invariant N6)."""
    file = volume.make(b"f")

    def half_done(state: State, operation: Unlink) -> Done:
        state.change(file)
        raise NamespaceRefusal(errno.EIO)

    monkeypatch.setattr(tree, "unlink", half_done)
    with pytest.raises(InvariantViolated, match="N6"):
        volume.outcome(Unlink(ROOT, b"f"))


def test_epochs(volume: Volume) -> None:
    """Each start of a daemon gets an epoch that no other has."""
    assert [volume.do(OpenEpoch()).value for _ in range(3)] == [1, 2, 3]


def test_volume_is_made_once(volume: Volume) -> None:
    """The first command makes the root; a second is refused."""
    root = volume.inode(ROOT)
    assert (root.mode, root.links, root.parent, root.uid) == (0o040755, 2, ROOT, 0)
    assert volume.refused(MakeVolume(1, 2, 3, 0o700)) == errno.EEXIST
    assert not State(MemoryStore()).exists


def test_outcomes_round_trip(volume: Volume) -> None:
    """What is kept for a retry is what was answered."""
    for outcome in (Done((volume.make(b"f"),), (InodeNumber(9),), 5), Done(), Refused(errno.EXDEV)):
        assert unpack_outcome(pack_outcome(outcome)) == outcome


def test_commands_round_trip(volume: Volume) -> None:
    """Every operation is read back from the log as it was written."""
    draw = random.Random(1)
    volume.make(b"a")
    volume.write(InodeNumber(2), 0, b"abc")
    for _ in range(200):
        operation = random_operation(volume, draw)
        command = Command(1 << 60, operation, SESSION, RequestNumber(5), RequestNumber(4))
        assert decode_command(encode_command(command)) == command
    assert SegmentId(1) not in volume.written
