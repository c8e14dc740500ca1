"""The rules of one node: a group of one through the real interface, and single rules of elections and replication."""

from typing import TypeVar

import pytest

from dwd.model.checks import InvariantViolated
from dwd.model.errors import CorruptWal, NotLeader, Overloaded
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.elections import ELECTION_TICKS
from dwd.raft.leading import UNAPPLIED_BYTES_MAX
from dwd.raft.node import WRITE_BYTES_MAX, Group, RaftNode, Role
from dwd.raft.quorum import Voters
from dwd.raft.record import Recovery, encode_record
from dwd.raft.replication import APPEND_BYTES_MAX
from dwd.raft.types import (
    NOBODY,
    Append,
    AppendReply,
    Entry,
    EntryKind,
    HardState,
    Heartbeat,
    HeartbeatReply,
    Message,
    VoteReply,
    VoteRequest,
)

ME, YOU, THEY = NodeId(1), NodeId(2), NodeId(3)


Kind = TypeVar("Kind")


def only(kind: type[Kind], messages: list[Message]) -> list[Kind]:
    """The messages, which must all be of one kind."""
    found: list[Kind] = [message for message in messages if isinstance(message, kind)]
    assert len(found) == len(messages)
    return found


class Shell:
    """The loop of a service, on a WAL in memory."""

    def __init__(self, *voters: NodeId, wal: list[bytes] | None = None, applied: int = 0) -> None:
        self.wal = wal if wal is not None else []
        self.syncs = 0
        self.applied: list[Entry] = []
        recovery = Recovery(drop_to=LogIndex(applied))
        for sequence, payload in enumerate(self.wal, 1):
            recovery.add(sequence, payload)
        group = Group(ME, Voters(frozenset(voters or (ME,))))
        self.node = RaftNode(group, recovery, LogIndex(applied), draw=lambda _: 0)

    def turn(self) -> list[Message]:
        """Do all that is ready; return what was sent."""
        sent: list[Message] = []
        while (ready := self.node.ready()) is not None:
            if ready.hard_state is not None:
                self.wal.append(encode_record(ready.hard_state, ready.entries))
            self.syncs += ready.must_sync
            sent += ready.messages
            self.applied += ready.committed
            self.node.advance(ready)
        return sent

    def tick(self, times: int = 1) -> list[Message]:
        """Let time pass."""
        sent = []
        for _ in range(times):
            self.node.tick()
            sent += self.turn()
        return sent

    def step(self, message: Message) -> list[Message]:
        """A message arrives; return the answers."""
        self.node.step(message)
        return self.turn()

    def commands(self) -> list[bytes]:
        """What a state machine would have seen."""
        return [entry.data for entry in self.applied if entry.kind is EntryKind.COMMAND]


def leader_of_three() -> Shell:
    """A node that has just won term 1, with no follower heard yet."""
    shell = Shell(ME, YOU, THEY)
    shell.tick(ELECTION_TICKS)
    shell.step(VoteReply(YOU, ME, Term(1), pre=True, granted=True))
    shell.step(VoteReply(YOU, ME, Term(1), pre=False, granted=True))
    assert shell.node.role is Role.LEADER
    return shell


def entry(term: int, index: int, data: bytes = b"x") -> Entry:
    """A command."""
    return Entry(Term(term), LogIndex(index), EntryKind.COMMAND, data)


def append(term: int, previous: tuple[int, int], *entries: Entry, commit: int = 0) -> Append:
    """An Append of node 2 after the entry (index, term)."""
    return Append(YOU, ME, Term(term), LogIndex(previous[0]), Term(previous[1]), entries, LogIndex(commit))


def test_group_of_one_leads_at_the_first_tick() -> None:
    """Nobody else can be asked, so nothing is waited for; the new term is synced."""
    shell = Shell()
    with pytest.raises(NotLeader):
        shell.node.propose([b"early"])
    shell.tick()
    assert (shell.node.role, shell.node.term, shell.node.leader, shell.syncs) == (Role.LEADER, 1, ME, 1)
    assert [entry.kind for entry in shell.applied] == [EntryKind.NO_OP]


def test_group_of_one_commits_what_is_in_the_file_without_a_sync() -> None:
    """A batch is one record, comes back once, in order, and asks for no sync."""
    shell = Shell()
    shell.tick()
    assert shell.node.propose([b"a", b"b", b"c"]) == 4
    assert shell.turn() == []
    assert shell.commands() == [b"a", b"b", b"c"]
    assert (len(shell.wal), shell.syncs) == (2, 1)
    assert shell.node.ready() is None


def test_nothing_is_committed_before_it_is_written() -> None:
    """Entries come back only after the shell said that it wrote them."""
    shell = Shell()
    shell.tick()
    shell.node.propose([b"a"])
    ready = shell.node.ready()
    assert ready is not None
    assert ([e.data for e in ready.entries], ready.committed) == ([b"a"], [])
    shell.node.propose([b"b"])
    shell.node.advance(ready)
    after = shell.node.ready()
    assert after is not None
    assert ([e.data for e in after.entries], [e.data for e in after.committed]) == ([b"b"], [b"a"])


def test_restart_applies_what_the_store_has_not() -> None:
    """All of the log comes back; entries that the state store has are not applied again; terms rise."""
    shell = Shell()
    shell.tick()
    shell.node.propose([b"a", b"b"])
    shell.turn()
    again = Shell(wal=shell.wal, applied=2)
    again.tick()
    assert again.commands() == [b"b"]
    assert again.node.term == 2
    assert again.node.propose([b"c"]) == 5


def test_restart_on_a_log_whose_front_was_forgotten() -> None:
    """Old records may go when the state store is durable; the log goes on behind them."""
    shell = Shell()
    shell.tick()
    for data in (b"a", b"b", b"c"):
        shell.node.propose([data])
        shell.turn()
    again = Shell(wal=shell.wal[2:], applied=3)
    again.tick()
    assert again.commands() == [b"c"]
    assert again.node.propose([b"d"]) == 6


@pytest.mark.parametrize(("first", "last", "applied"), [(0, 1, 2), (2, 3, 1)])
def test_store_and_log_that_do_not_meet_are_refused(first: int, last: int, applied: int) -> None:
    """A store ahead of its log, or a log that begins behind its store, means that something was lost."""
    shell = Shell()
    shell.tick()
    for data in (b"a", b"b"):
        shell.node.propose([data])
        shell.turn()
    with pytest.raises(CorruptWal, match="state store"):
        Shell(wal=shell.wal[first:last], applied=applied)


def test_compaction_keeps_the_log_usable() -> None:
    """What is applied may leave memory, and nothing else may."""
    shell = Shell()
    shell.tick()
    shell.node.propose([b"a", b"b"])
    shell.turn()
    shell.node.compact(LogIndex(3))
    assert (shell.node.log.base_index, shell.node.propose([b"c"])) == (3, 4)
    shell.turn()
    assert shell.commands() == [b"a", b"b", b"c"]
    with pytest.raises(InvariantViolated, match="R6"):
        shell.node.compact(LogIndex(5))


def test_write_and_apply_come_in_bounded_parts() -> None:
    """A Ready never holds more than fits in a WAL record."""
    shell = Shell()
    shell.tick()
    shell.node.propose([bytes(APPEND_BYTES_MAX)] * 6)
    ready = shell.node.ready()
    assert ready is not None
    assert 0 < sum(len(e.data) for e in ready.entries) <= WRITE_BYTES_MAX
    shell.node.advance(ready)
    shell.turn()
    assert len(shell.commands()) == 6


def test_proposals_beyond_the_bound_are_refused_until_applied() -> None:
    """What is in progress is bounded; when it is applied there is room again."""
    shell = Shell()
    shell.tick()
    batch = [bytes(APPEND_BYTES_MAX)] * (UNAPPLIED_BYTES_MAX // APPEND_BYTES_MAX)
    shell.node.propose(batch)
    with pytest.raises(Overloaded):
        shell.node.propose([b"one more"])
    shell.turn()
    shell.node.propose([b"one more"])


def test_one_ready_at_a_time() -> None:
    """A second Ready before advance() would be written out of order."""
    shell = Shell()
    shell.node.tick()
    ready = shell.node.ready()
    with pytest.raises(InvariantViolated, match="R11"):
        shell.node.ready()
    assert ready is not None
    shell.node.advance(ready)
    with pytest.raises(InvariantViolated, match="R11"):
        shell.node.advance(ready)


def test_several_voters_sync_entries_and_votes() -> None:
    """With others relying on it, a node syncs every record with entries, and every vote, before it speaks."""
    shell = Shell(ME, YOU, THEY)
    shell.node.step(VoteRequest(YOU, ME, Term(1), False, LogIndex(0), Term(0)))
    ready = shell.node.ready()
    assert ready is not None
    assert (ready.hard_state, ready.must_sync) == (HardState(Term(1), YOU, LogIndex(0)), True)
    shell.node.advance(ready)
    shell.node.step(append(1, (0, 0), entry(1, 1)))
    ready = shell.node.ready()
    assert ready is not None
    assert ready.must_sync


def test_pre_vote_changes_no_term() -> None:
    """A node that cannot win disturbs nobody: it only asks, and its own term stays."""
    shell = Shell(ME, YOU, THEY)
    sent = shell.tick(ELECTION_TICKS * 5)
    assert all(isinstance(m, VoteRequest) and m.pre and m.term == 1 for m in sent)
    assert (shell.node.term, shell.node.role, shell.wal) == (0, Role.PRE_CANDIDATE, [])


def test_vote_is_given_once_a_term_also_after_a_restart() -> None:
    """The vote is in the WAL before the answer leaves."""
    shell = Shell(ME, YOU, THEY)
    assert only(VoteReply, shell.step(VoteRequest(YOU, ME, Term(1), False, LogIndex(0), Term(0))))[0].granted
    again = Shell(ME, YOU, THEY, wal=shell.wal)
    assert not only(VoteReply, again.step(VoteRequest(THEY, ME, Term(1), False, LogIndex(0), Term(0))))[0].granted
    assert only(VoteReply, again.step(VoteRequest(YOU, ME, Term(1), False, LogIndex(0), Term(0))))[0].granted


def test_no_vote_for_an_older_log() -> None:
    """Who lacks entries that may be committed cannot lead."""
    shell = Shell(ME, YOU, THEY)
    shell.step(append(2, (0, 0), entry(1, 1), entry(2, 2)))
    shell.tick(ELECTION_TICKS)
    for last_index, last_term, granted in ((5, 1, False), (1, 2, False), (2, 2, True)):
        request = VoteRequest(THEY, ME, Term(9), True, LogIndex(last_index), Term(last_term))
        assert only(VoteReply, shell.step(request))[0].granted is granted


def test_no_vote_while_the_leader_is_well() -> None:
    """A node that comes back with a high term does not depose a leader that others hear."""
    shell = Shell(ME, YOU, THEY)
    shell.step(Heartbeat(YOU, ME, Term(1), LogIndex(0)))
    for pre in (True, False):
        assert shell.step(VoteRequest(THEY, ME, Term(7), pre, LogIndex(9), Term(6))) == []
    assert (shell.node.term, shell.node.leader) == (1, YOU)


def test_node_of_an_older_term_is_told() -> None:
    """A leader or candidate of the past learns the term, or it would be stuck behind its lease or its pre-votes."""
    shell = Shell(ME, YOU, THEY)
    shell.step(Heartbeat(YOU, ME, Term(5), LogIndex(0)))
    for message in (
        Heartbeat(THEY, ME, Term(3), LogIndex(0)),
        append(3, (0, 0)),
        VoteRequest(THEY, ME, Term(3), True, LogIndex(0), Term(0)),
    ):
        answers = shell.step(message)
        assert [answer.term for answer in answers] == [5]


def test_leader_that_hears_no_quorum_steps_down() -> None:
    """A leader cut off from its followers stops within two election timeouts; one that hears them stays."""
    shell = leader_of_three()
    for _ in range(ELECTION_TICKS * 3):
        shell.tick()
        shell.step(HeartbeatReply(YOU, ME, Term(1)))
    assert shell.node.role is Role.LEADER
    shell.tick(2 * ELECTION_TICKS)
    assert (shell.node.role is Role.LEADER, shell.node.leader) == (False, NOBODY)


def test_new_leader_commits_what_earlier_terms_left_without_a_proposal() -> None:
    """An entry of an older term counts only under one of the leader's own, which it therefore makes at once."""
    shell = Shell(ME, YOU, THEY)
    shell.step(append(1, (0, 0), entry(1, 1)))
    shell.tick(ELECTION_TICKS)
    shell.step(VoteReply(THEY, ME, Term(2), pre=True, granted=True))
    sent = shell.step(VoteReply(THEY, ME, Term(2), pre=False, granted=True))
    assert [e.kind for e in only(Append, sent)[0].entries] == [EntryKind.NO_OP]
    shell.step(AppendReply(THEY, ME, Term(2), True, LogIndex(1), LogIndex(0), Term(0)))
    assert shell.node.log.committed == 0  # figure 8 of the paper: a quorum has it, and it may still be replaced
    shell.step(AppendReply(THEY, ME, Term(2), True, LogIndex(2), LogIndex(0), Term(0)))
    assert shell.node.log.committed == 2


def test_leader_counts_itself_only_when_written() -> None:
    """A follower's answer alone is no majority of three."""
    shell = leader_of_three()
    shell.step(AppendReply(YOU, ME, Term(1), True, LogIndex(1), LogIndex(0), Term(0)))
    shell.node.propose([b"a"])
    shell.node.step(AppendReply(YOU, ME, Term(1), True, LogIndex(2), LogIndex(0), Term(0)))
    assert shell.node.log.committed == 1
    shell.turn()
    assert shell.node.log.committed == 2


def test_follower_commits_no_further_than_it_agrees() -> None:
    """Entries behind what the message proves may differ from the leader's, whatever its commit index."""
    shell = Shell(ME, YOU, THEY)
    shell.step(append(1, (0, 0), entry(1, 1), entry(1, 2), entry(1, 3)))
    shell.step(append(2, (0, 0), entry(1, 1), commit=3))
    assert shell.node.log.committed == 1


def test_conflict_is_replaced_on_disk_too() -> None:
    """A new leader's entries replace uncommitted ones; a restart sees the new ones only."""
    shell = Shell(ME, YOU, THEY)
    shell.step(append(1, (0, 0), entry(1, 1), entry(1, 2, b"old"), entry(1, 3, b"old")))
    shell.step(append(2, (1, 1), entry(2, 2, b"new"), commit=2))
    again = Shell(ME, YOU, THEY, wal=shell.wal)
    assert (again.node.log.last_index, again.node.log.term(LogIndex(2))) == (2, 2)


def test_committed_entry_is_never_replaced() -> None:
    """A message that asks for it comes from a broken node: stop."""
    shell = Shell(ME, YOU, THEY)
    shell.step(append(1, (0, 0), entry(1, 1), entry(1, 2), commit=1))
    with pytest.raises(InvariantViolated, match="R4"):
        shell.step(Heartbeat(YOU, ME, Term(1), LogIndex(3)))
    log = shell.node.log
    with pytest.raises(InvariantViolated, match="R7"):
        log.accept(LogIndex(0), Term(0), [entry(2, 1)])


def test_reply_waits_for_the_last_part_of_a_large_write() -> None:
    """An acceptance speaks of all entries, so it leaves with the part that completes them."""
    shell = Shell(ME, YOU, THEY)
    for first in range(1, 7):
        shell.node.step(append(1, (first - 1, min(1, first - 1)), entry(1, first, bytes(APPEND_BYTES_MAX))))
    ready = shell.node.ready()
    assert ready is not None
    assert (len(ready.entries) < 6, ready.messages) == (True, [])
    shell.node.advance(ready)
    assert [m.index for m in only(AppendReply, shell.turn())] == [1, 2, 3, 4, 5, 6]


def test_what_is_not_addressed_to_a_node_is_not_heard() -> None:
    """A message for another node changes nothing."""
    shell = Shell(ME, YOU, THEY)
    assert shell.step(Heartbeat(YOU, THEY, Term(5), LogIndex(0))) == []
    assert shell.node.term == 0


def test_answers_of_strangers_do_not_count() -> None:
    """Who is no member can neither commit an entry nor keep a leader in place."""
    shell = leader_of_three()
    stranger = NodeId(9)
    shell.step(AppendReply(stranger, ME, Term(1), True, LogIndex(1), LogIndex(0), Term(0)))
    for _ in range(2 * ELECTION_TICKS):
        shell.tick()
        shell.step(HeartbeatReply(stranger, ME, Term(1)))
    assert (shell.node.log.committed, shell.node.role is Role.LEADER) == (0, False)


def test_second_leader_of_a_term_stops_the_first() -> None:
    """It cannot be: one of the two is broken, and nobody can tell which."""
    shell = leader_of_three()
    with pytest.raises(InvariantViolated, match="R13"):
        shell.step(Heartbeat(YOU, ME, Term(1), LogIndex(0)))


def test_follower_that_has_what_was_never_sent_stops_the_leader() -> None:
    """Whatever it answered, it is not this leader's log."""
    shell = leader_of_three()
    with pytest.raises(InvariantViolated, match="R19"):
        shell.step(AppendReply(YOU, ME, Term(1), True, LogIndex(9), LogIndex(0), Term(0)))
