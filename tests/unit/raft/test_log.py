"""The log in memory: its cursors, and what a follower takes from a leader."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.checks import InvariantViolated
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.configuration import Configuration, Placed
from dwd.raft.log import ENTRY_OVERHEAD_BYTES, RaftLog
from dwd.raft.membership import Membership
from dwd.raft.record import Recovery
from dwd.raft.types import Entry, EntryKind


def entry(term: int, index: int, data: bytes = b"") -> Entry:
    """A command."""
    return Entry(Term(term), LogIndex(index), EntryKind.COMMAND, data)


def log(*terms: int, base: int = 0) -> RaftLog:
    """A log with entries of these terms behind `base`."""
    entries = [entry(term, index) for index, term in enumerate(terms, base + 1)]
    recovery = Recovery(drop_to=LogIndex(0))
    recovery.base_index, recovery.entries = LogIndex(base), entries
    made = Placed(LogIndex(0), Configuration((NodeId(1),)))
    return RaftLog(recovery, Membership(NodeId(1), [made]), LogIndex(base))


def terms(of: RaftLog) -> list[Term]:
    """The terms of all entries."""
    return [e.term for e in of.slice(of.base_index + 1, of.last_index, 1 << 30)]


TERMS = st.lists(st.integers(1, 3), max_size=6).map(sorted)


@given(TERMS, TERMS, st.integers(0, 6), st.integers(0, 6))
@settings(derandomize=True, max_examples=150, deadline=None)
def test_accepting_makes_the_log_equal_the_leaders(ours: list[int], theirs: list[int], start: int, count: int) -> None:
    """After an acceptance both agree up to the index returned, and nothing was cut that did not conflict."""
    start = min(start, len(theirs))
    follower, leader = log(*ours), log(*theirs)
    sent = leader.slice(start + 1, min(start + count, leader.last_index), 1 << 30)
    met = leader.term(LogIndex(start))
    assert met is not None
    last = follower.accept(LogIndex(start), met, sent)
    if start > len(ours) or (start > 0 and ours[start - 1] != met):
        assert (last, terms(follower)) == (None, ours)
        return
    assert last == start + len(sent)
    assert terms(follower)[start:last] == theirs[start:last]
    if ours[start:last] == theirs[start:last]:
        assert terms(follower) == ours


def test_written_is_not_believed_of_an_entry_that_was_replaced() -> None:
    """While the disk wrote one entry another took its place: that one is not written."""
    follower = log(1)
    follower.append([entry(1, 2)])
    (writing,) = follower.unwritten(1 << 20)
    follower.accept(LogIndex(1), Term(1), [entry(2, 2)])
    follower.written_to(writing)
    assert (follower.written, [e.term for e in follower.unwritten(1 << 20)]) == (1, [2])


def test_slice_is_bounded_but_never_empty() -> None:
    """One entry always fits, or nothing would ever move."""
    big = log()
    big.append([entry(1, n, bytes(100)) for n in (1, 2, 3)])
    assert len(big.slice(1, 3, 1)) == 1
    assert len(big.slice(1, 3, 2 * (100 + ENTRY_OVERHEAD_BYTES))) == 2
    assert big.slice(3, 2, 1) == []


def test_compacted_entries_are_gone_and_their_last_term_stays() -> None:
    """The base answers for its own term and for nothing before it."""
    short = log(1, 1, 2, 2)
    short.commit_to(LogIndex(3))
    short.applied_to(LogIndex(3))
    short.compact(LogIndex(3))
    assert [short.term(LogIndex(n)) for n in range(1, 6)] == [None, None, 2, 2, None]
    with pytest.raises(InvariantViolated, match="R6"):
        short.compact(LogIndex(4))


@pytest.mark.parametrize(("name", "index"), [("R4", 9), ("R5", 2)])
def test_cursors_keep_their_order(name: str, index: int) -> None:
    """Committed never passes the end, applied never passes committed."""
    short = log(1, 1, 1)
    with pytest.raises(InvariantViolated, match=name):
        short.commit_to(LogIndex(index)) if name == "R4" else short.applied_to(LogIndex(index))


def test_last_entry_that_can_agree() -> None:
    """The hint skips all entries of terms that the other side cannot have there."""
    mine = log(1, 1, 3, 3, 3)
    assert mine.last_not_after(LogIndex(5), Term(2)) == (2, 1)
    assert mine.last_not_after(LogIndex(9), Term(3)) == (5, 3)
    assert mine.last_not_after(LogIndex(4), Term(0)) == (0, 0)
