"""WAL records of the consensus: their bytes, the log they amount to, and what may be forgotten."""

from pathlib import Path

import pytest

from dwd.model.errors import CorruptWal
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.configuration import Configuration, Placed
from dwd.raft.record import RecordPositions, Recovery, encode_record
from dwd.raft.types import Entry, EntryKind, HardState, Manifest

GOLDEN = Path(__file__).parents[2] / "golden" / "raft_record_v1.bin"
GOLDEN_CHANGED = GOLDEN.with_name("raft_record_v1.1.bin")
STATE = HardState(Term(3), NodeId(2), LogIndex(70_000))


def entries(term: int, first: int, last: int) -> list[Entry]:
    """Commands that tell their place."""
    return [Entry(Term(term), LogIndex(n), EntryKind.COMMAND, b"%d@%d" % (n, term)) for n in range(first, last + 1)]


def recovered(*batches: list[Entry], drop_to: int = 0) -> Recovery:
    """What a log of these records amounts to."""
    recovery = Recovery(drop_to=LogIndex(drop_to))
    for sequence, batch in enumerate(batches, 1):
        recovery.add(sequence, encode_record(STATE, batch))
    return recovery


def test_golden_record() -> None:
    """The bytes of a record are what version 1 wrote."""
    no_op = Entry(Term(3), LogIndex(70_000), EntryKind.NO_OP, b"")
    assert encode_record(STATE, [no_op, *entries(3, 70_001, 70_001)]) == GOLDEN.read_bytes()


def test_golden_record_of_a_group_that_changed() -> None:
    """The bytes of a record with configurations and a snapshot are what version 1.1 wrote."""
    members = Configuration((NodeId(1), NodeId(2)), (NodeId(1),), (NodeId(5),), (), (NodeId(2),))
    state = HardState(Term(3), NodeId(2), LogIndex(70_000), (Placed(LogIndex(9), members),))
    snapshot = Manifest(LogIndex(70_000), Term(2), members, b"name")
    assert encode_record(state, entries(3, 70_001, 70_001), snapshot) == GOLDEN_CHANGED.read_bytes()


def test_later_entries_replace_earlier_ones() -> None:
    """An entry replaces that of its index and all behind it, in the order in which they were written."""
    recovery = recovered(entries(1, 1, 5), entries(2, 3, 4), entries(3, 4, 4))
    assert [e.data for e in recovery.entries] == [b"1@1", b"2@1", b"3@2", b"4@3"]
    assert recovery.hard_state == STATE


def test_forgotten_front_leaves_its_last_term() -> None:
    """The first entry that is left is the base: its term answers for what went before."""
    recovery = recovered(entries(2, 7, 9))
    assert (recovery.base_index, recovery.base_term, len(recovery.entries)) == (7, 2, 2)
    again = recovered(entries(2, 7, 9), entries(3, 5, 8))
    assert (again.base_index, again.base_term, len(again.entries)) == (5, 3, 3)


def test_entries_that_nobody_needs_are_not_kept() -> None:
    """What the state store has takes no memory."""
    recovery = recovered(entries(1, 1, 4), entries(2, 5, 8), drop_to=6)
    assert (recovery.base_index, recovery.base_term) == (6, 2)
    assert [e.index for e in recovery.entries] == [7, 8]


@pytest.mark.parametrize("drop_to", [0, 9])
def test_hole_in_the_log_is_damage(drop_to: int) -> None:
    """Entries that are missing between records are never passed over, not even those that are not kept."""
    with pytest.raises(CorruptWal, match="entries before 6"):
        recovered(entries(1, 1, 4), entries(1, 6, 8), drop_to=drop_to)


def test_record_that_is_none_of_ours_is_damage() -> None:
    """Checksums were right, so somebody else wrote it: stop."""
    with pytest.raises(CorruptWal, match="record 5 "):
        Recovery(drop_to=LogIndex(0)).add(5, b"\x92\x01")


def test_needed_record_still_holds_a_durable_entry() -> None:
    """From the record that must stay, a restart finds its base before the durable index, and not long before."""
    positions = RecordPositions()
    assert positions.needed_from(LogIndex(0)) == 0
    for sequence in range(1, 1001):
        positions.note(sequence, entries(1, sequence * 2 - 1, sequence * 2))
    for durable in (1, 2, 300, 1999, 2000, 5000):
        needed = positions.needed_from(LogIndex(durable))
        assert needed == 0 or needed * 2 <= durable
        assert needed > min(durable / 2, 1000) - 130


def test_replaced_entries_hold_nothing_back_and_give_nothing_away() -> None:
    """A record whose entries were replaced later does not count as holding them."""
    positions = RecordPositions()
    positions.note(1, entries(1, 1, 50))
    positions.note(100, entries(1, 51, 90))
    positions.note(200, entries(2, 60, 61))
    positions.note(300, entries(3, 55, 55))
    assert positions.needed_from(LogIndex(54)) == 1
