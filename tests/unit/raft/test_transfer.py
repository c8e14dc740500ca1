"""Handing over: a planned change of leader, and who comes to lead by patience."""

import pytest

from dwd.model.errors import BadRequest, NotLeader
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.configuration import ChangeKind, MemberChange
from dwd.raft.elections import ELECTION_TICKS
from dwd.raft.node import Group, RaftNode, Role
from dwd.raft.quorum import Voters
from dwd.raft.record import Recovery
from dwd.raft.types import Append, TimeoutNow, VoteRequest
from tests.unit.raft.cluster import Cluster


def led(size: int) -> Cluster:
    """A group whose node 1 leads."""
    cluster = Cluster(size)
    cluster.elect(1)
    return cluster


def test_target_leads_at_once_though_the_leader_is_well() -> None:
    """The followers trust their leader, and it is the leader that asks."""
    cluster = led(3)
    cluster[1].transfer(NodeId(3))
    cluster.settle()
    assert (cluster[3].role, cluster[3].term, cluster[1].role) == (Role.LEADER, 2, Role.FOLLOWER)


def test_target_is_brought_up_to_date_first() -> None:
    """It could not win before."""
    cluster = led(3)
    cluster.isolate(3)
    cluster[1].propose([b"a"])
    cluster.settle()
    cluster.heal()
    cluster[1].transfer(NodeId(3))
    cluster.turn(1)
    assert not any(isinstance(message, TimeoutNow) for message in cluster.network)
    cluster.tick(2)
    assert (cluster[3].role, cluster.members[3].state) == (Role.LEADER, (b"a",))


def test_nothing_is_proposed_meanwhile_and_time_ends_it() -> None:
    """A target that never answers costs one election time-out."""
    cluster = led(3)
    cluster.isolate(3)
    cluster[1].transfer(NodeId(3))
    with pytest.raises(NotLeader, match="handing over to node 3"):
        cluster[1].propose([b"a"])
    with pytest.raises(NotLeader, match="handing over to node 3"):
        cluster[1].propose_change([MemberChange(ChangeKind.REMOVE, NodeId(2))])
    before = cluster[1].transferee
    cluster.tick(ELECTION_TICKS)
    assert (before, cluster[1].role, cluster[1].transferee) == (3, Role.LEADER, None)
    cluster[1].propose([b"a"])


def test_other_target_takes_the_place_of_the_first() -> None:
    """The last wish counts."""
    cluster = led(3)
    cluster.isolate(3)
    cluster[1].transfer(NodeId(3))
    cluster[1].transfer(NodeId(2))
    cluster.settle()
    assert cluster[2].role is Role.LEADER


@pytest.mark.parametrize("target", [1, 4, 5, 9])
def test_target_that_cannot_lead_is_refused(target: int) -> None:
    """Itself, a learner, a witness, a stranger."""
    cluster = led(3)
    cluster.join(4)
    cluster.join(5, witness=True)
    cluster[1].propose_change(
        [MemberChange(ChangeKind.LEARNER, NodeId(4)), MemberChange(ChangeKind.WITNESS, NodeId(5))]
    )
    cluster.settle()
    with pytest.raises(BadRequest):
        cluster[1].transfer(NodeId(target))
    with pytest.raises(NotLeader):
        cluster[2].transfer(NodeId(3))


def test_late_request_to_stand_is_of_the_past() -> None:
    """After another election it means nothing."""
    cluster = led(3)
    cluster[1].transfer(NodeId(3))
    cluster.turn(1)
    (late,) = [message for message in cluster.network if isinstance(message, TimeoutNow)]
    cluster.network.clear()
    cluster.isolate(1)
    cluster.elect(2)
    cluster[3].step(late)
    cluster.settle()
    assert (cluster[2].role, cluster[2].term) == (Role.LEADER, 2)


def test_forced_vote_still_goes_to_no_older_log() -> None:
    """A transfer ends trust in the leader, not the rule that keeps what is committed."""
    cluster = led(3)
    cluster[1].propose([b"a"])
    cluster.turn(1)
    cluster.deliver(lambda m: m.to == 2 and isinstance(m, Append))
    cluster.turn(2)
    cluster[2].step(VoteRequest(NodeId(3), NodeId(2), Term(2), False, LogIndex(1), Term(1), forced=True))
    assert (cluster[2].term, cluster[2].vote) == (2, 0)


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_patient_node_gives_others_time_to_stand_first(patience: int) -> None:
    """Locality is a matter of who stands first, never of refusing a vote."""
    group = Group(NodeId(1), Voters(frozenset({NodeId(1), NodeId(2)})), patience=patience)
    node = RaftNode(group, Recovery(drop_to=LogIndex(0)), LogIndex(0), lambda _: 0)
    ticks = 0
    while node.role is Role.FOLLOWER:
        node.tick()
        ticks += 1
    assert ticks == ELECTION_TICKS * (1 + patience)
    node.step(VoteRequest(NodeId(2), NodeId(1), Term(5), False, LogIndex(0), Term(0)))
    assert node.vote == 2
