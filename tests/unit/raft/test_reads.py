"""Reads that miss nothing: what a leader must know before it answers, and which answers it must not take."""

import pytest

from dwd.model.errors import NotLeader
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.configuration import ChangeKind, MemberChange
from dwd.raft.elections import ELECTION_TICKS
from dwd.raft.node import Role
from dwd.raft.quorum import Voters
from dwd.raft.reads import CONTEXTS_MAX, ROUNDS_MAX, ReadRounds
from dwd.raft.types import Append, Heartbeat, HeartbeatReply, ReadContext, ReadReply, ReadRequest
from tests.unit.raft.cluster import Cluster

ME, YOU, THEY = NodeId(1), NodeId(2), NodeId(3)


def led(size: int) -> Cluster:
    """A group whose node 1 leads, and has a command."""
    cluster = Cluster(size)
    cluster.elect(1).propose([b"a"])
    cluster.settle()
    return cluster


@pytest.mark.parametrize("asked", [1, 3])
@pytest.mark.parametrize("size", [3, 5])
def test_any_member_reads_what_is_committed(asked: int, size: int) -> None:
    """A leader and a follower get the index of the last command that was acknowledged."""
    cluster = led(size)
    context = cluster[asked].read_index()
    cluster.settle()
    (answer,) = cluster.members[asked].reads
    assert (answer.context, answer.index) == (context, cluster[1].log.committed)


def test_group_of_one_asks_nobody() -> None:
    """The answer is there with the next Ready."""
    cluster = led(1)
    context = cluster[1].read_index()
    ready = cluster[1].ready()
    assert ready is not None
    assert [answer.context for answer in ready.reads] == [context]


def test_all_reads_of_a_turn_share_one_round() -> None:
    """One heartbeat for each follower, however many ask; the next turn has a context of its own."""
    cluster = led(3)
    first = cluster[1].read_index()
    assert cluster[1].read_index() is first
    ready = cluster[1].ready()
    assert ready is not None
    assert [type(message) for message in ready.messages] == [Heartbeat, Heartbeat]
    cluster[1].advance(ready)
    assert cluster[1].read_index() != first


def test_new_leader_does_not_answer_before_it_has_committed() -> None:
    """It may not know yet what its predecessor acknowledged."""
    cluster = led(3)
    cluster.isolate(1)
    for _ in range(3 * ELECTION_TICKS):
        for number in (2, 3):
            cluster[number].tick()
            cluster.turn(number)
            cluster.network = [m for m in cluster.network if not isinstance(m, Append)]
            cluster.deliver()
        if cluster[2].role is Role.LEADER:
            break
    cluster[2].read_index()
    for _ in range(3):
        cluster[2].tick()
        for number in (2, 3):
            cluster.turn(number)
            cluster.network = [m for m in cluster.network if not isinstance(m, Append)]
            cluster.deliver()
    assert cluster.members[2].reads == []
    cluster.settle()
    assert [answer.index for answer in cluster.members[2].reads] == [cluster[2].log.committed]


def test_deposed_leader_answers_nobody() -> None:
    """It cannot get a majority's word, however often it asks; nor do its followers' questions get through it."""
    cluster = led(3)
    cluster.isolate(1)
    cluster[1].read_index()
    cluster.tick(3 * ELECTION_TICKS)
    cluster.elect(2).propose([b"b"])
    cluster.settle()
    assert cluster.members[1].reads == []
    with pytest.raises(NotLeader):
        cluster[1].read_index()


def test_answer_to_an_earlier_round_confirms_no_later_one() -> None:
    """A reply that was doubled or slept in a queue speaks of the time when it was sent (etcd #20418)."""
    cluster = led(3)
    term = cluster[1].term
    cluster[1].read_index()
    cluster.turn(1)
    for _ in range(2):
        cluster[1].step(HeartbeatReply(YOU, ME, term, 1))
    cluster.turn(1)
    assert len(cluster.members[1].reads) == 1
    cluster.network.clear()
    cluster[1].read_index()
    cluster.turn(1)
    for late in (HeartbeatReply(YOU, ME, term, 1), HeartbeatReply(THEY, ME, term, 1), HeartbeatReply(THEY, ME, term)):
        cluster[1].step(late)
    cluster.turn(1)
    assert len(cluster.members[1].reads) == 1
    cluster[1].step(HeartbeatReply(THEY, ME, term, 2))
    cluster.turn(1)
    assert len(cluster.members[1].reads) == 2


def test_lost_round_is_repeated_with_the_heartbeats() -> None:
    """Nobody needs to ask again while the leader stays."""
    cluster = led(3)
    cluster[1].read_index()
    cluster.turn(1)
    cluster.network.clear()
    cluster.tick()
    assert len(cluster.members[1].reads) == 1


def test_learner_confirms_nothing() -> None:
    """Its word is no part of a majority."""
    cluster = led(3)
    cluster.join(4)
    cluster[1].propose_change([MemberChange(ChangeKind.LEARNER, NodeId(4))])
    cluster.settle()
    cluster.isolate(2, 3)
    cluster[1].read_index()
    cluster.tick(3)
    assert cluster.members[1].reads == []


def test_joint_configuration_asks_both_majorities() -> None:
    """The old voters alone may have been left behind by the new, or the new by the old."""
    rounds = ReadRounds(ME)
    rounds.ask(ReadContext(ME, 0, 1))
    number = rounds.begin(LogIndex(7))
    both = Voters(frozenset({ME, YOU, THEY}), frozenset({ME, NodeId(4), NodeId(5)}))
    rounds.answered(YOU, number)
    assert rounds.confirmed(both) == []
    rounds.answered(NodeId(4), number)
    assert [done.index for done in rounds.confirmed(both)] == [7]


def test_rounds_and_questions_are_bounded() -> None:
    """Beyond so many rounds reads gather for the next; beyond so many questions they are dropped, and asked again."""
    rounds = ReadRounds(ME)
    for number in range(ROUNDS_MAX):
        rounds.ask(ReadContext(YOU, 0, number))
        assert rounds.may_begin
        rounds.begin(LogIndex(1))
    for number in range(2 * CONTEXTS_MAX):
        rounds.ask(ReadContext(YOU, 1, number))
    assert not rounds.may_begin
    rounds.answered(YOU, rounds.awaited)
    assert len(rounds.confirmed(Voters(frozenset({ME, YOU, THEY})))) == ROUNDS_MAX
    rounds.begin(LogIndex(1))
    rounds.answered(YOU, rounds.awaited)
    (last,) = rounds.confirmed(Voters(frozenset({ME, YOU, THEY})))
    assert len(last.contexts) == CONTEXTS_MAX


def test_answer_to_an_earlier_life_is_not_taken() -> None:
    """A node that restarted counts from one again, but draws another incarnation."""
    cluster = led(3)
    cluster[2].step(ReadReply(ME, YOU, cluster[2].term, ReadContext(YOU, 1234, 1), LogIndex(1)))
    cluster.turn(2)
    assert cluster.members[2].reads == []


def test_question_that_meets_no_leader_is_dropped() -> None:
    """Whoever asked will ask again; a node that no longer leads does not guess."""
    cluster = led(3)
    context = cluster[2].read_index()
    cluster[3].step(ReadRequest(YOU, THEY, cluster[3].term, context))
    assert cluster.turn(3) == []
    cluster[2]._member._become_follower(Term(99), NodeId(0))
    assert [ready.messages for ready in cluster.turn(2)] == [[]]
