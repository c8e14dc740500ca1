"""How a group changes its members while it works: every rule of docs/adr/0005-membership.md, on whole nodes."""

import pytest

from dwd.model.checks import InvariantViolated
from dwd.model.errors import NotLeader, Overloaded
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.configuration import ChangeKind, Configuration, MemberChange, Placed, encode_configuration
from dwd.raft.elections import ELECTION_TICKS
from dwd.raft.membership import Membership
from dwd.raft.node import Role
from dwd.raft.record import Recovery
from dwd.raft.types import NOBODY, Append, Entry, EntryKind, Heartbeat, TimeoutNow, VoteRequest
from tests.unit.raft.cluster import Cluster

VOTER, LEARNER, WITNESS, REMOVE = ChangeKind


def change(cluster: Cluster, *changes: tuple[ChangeKind, int]) -> LogIndex:
    """Propose a change at the leader."""
    return cluster.leader.propose_change([MemberChange(kind, NodeId(node)) for kind, node in changes])


def led(size: int) -> Cluster:
    """A group whose node 1 leads."""
    cluster = Cluster(size)
    cluster.elect(1)
    return cluster


def test_one_node_becomes_three_with_everything_it_had() -> None:
    """New nodes begin as learners, are promoted together, and have the whole state."""
    cluster = led(1)
    cluster[1].propose([b"a", b"b"])
    cluster.settle()
    for number in (2, 3):
        cluster.join(number)
    change(cluster, (LEARNER, 2), (LEARNER, 3))
    cluster.settle()
    assert cluster.states() == [(b"a", b"b")] * 3
    change(cluster, (VOTER, 2), (VOTER, 3))
    cluster.settle()
    assert [m.node.configuration for m in cluster.members.values()] == [
        Configuration((NodeId(1), NodeId(2), NodeId(3)))
    ] * 3
    cluster.isolate(1)
    cluster.elect(2).propose([b"c"])
    cluster.settle()
    assert cluster.members[3].state == (b"a", b"b", b"c")


def test_group_of_one_syncs_before_it_tells_others() -> None:
    """What was counted without a sync is on stable storage before any other node hears of it."""
    cluster = led(1)
    cluster.join(2)
    cluster[1].propose([b"a"])
    cluster.turn(1)
    change(cluster, (LEARNER, 2))
    cluster[1].propose([b"b"])
    cluster[1].tick()
    first = cluster[1].ready()
    assert first is not None
    assert (first.must_sync, first.messages) == (True, [])
    cluster[1].advance(first)
    second = cluster[1].ready()
    assert second is not None
    assert any(isinstance(message, Append) for message in second.messages)


def test_new_configuration_decides_as_soon_as_it_is_appended() -> None:
    """A joint configuration commits with both majorities only."""
    cluster = led(3)
    for number in (4, 5):
        cluster.join(number)
    cluster.isolate(4, 5)
    index = change(cluster, (VOTER, 4), (VOTER, 5), (REMOVE, 2), (REMOVE, 3))
    cluster.settle()
    assert cluster[1].configuration.is_joint
    assert cluster[1].log.committed < index  # 1, 2 and 3 have it: no majority of 1, 4 and 5
    cluster.heal()
    cluster.tick()
    assert cluster[1].configuration == Configuration((NodeId(1), NodeId(4), NodeId(5)))
    assert cluster[1].log.committed == cluster[1].log.last_index


def test_node_that_is_left_alone_syncs_what_made_it_so() -> None:
    """Without that entry it would come back as one of two, and what it counts alone from here on would not count."""
    cluster = led(2)
    change(cluster, (REMOVE, 2))
    cluster.turn(1)
    cluster.deliver()
    cluster.turn(2)
    cluster.deliver()
    assert cluster[1].configuration == Configuration((NodeId(1),))
    ready = cluster[1].ready()
    assert ready is not None
    assert (ready.entries[-1].kind, ready.must_sync) == (EntryKind.CONFIGURATION, True)
    cluster.members[1].perform(ready)
    cluster[1].propose([b"a"])
    assert [later.must_sync for later in cluster.turn(1) if later.entries] == [False]


def test_commit_of_an_earlier_entry_leaves_no_joint_configuration() -> None:
    """It is left when it is committed itself."""
    cluster = led(3)
    cluster[1].propose([b"a"])
    cluster.turn(1)
    change(cluster, (REMOVE, 3))
    cluster.deliver(lambda m: m.to == 2)
    cluster.turn(2)
    cluster.deliver()
    assert (cluster[1].log.committed, cluster[1].log.last_index) == (2, 3)
    assert cluster[1].configuration.is_joint


def test_one_change_at_a_time() -> None:
    """Nothing is changed on top of a change that is not committed, or of a joint configuration."""
    cluster = led(3)
    cluster.join(4)
    cluster.isolate(1)
    change(cluster, (LEARNER, 4))
    with pytest.raises(Overloaded, match="under way"):
        change(cluster, (REMOVE, 3))


def test_new_leader_changes_nothing_before_it_has_committed() -> None:
    """Until an entry of its own term counts, it cannot know what does: two changes could overlap."""
    cluster = led(3)
    cluster.isolate(1)
    cluster[2].step(TimeoutNow(NodeId(1), NodeId(2), cluster[2].term, gives_up_lease=False))
    cluster.turn(2)
    cluster.deliver(lambda m: isinstance(m, VoteRequest))
    cluster.turn(3)
    cluster.deliver()
    assert cluster[2].role is Role.LEADER
    with pytest.raises(Overloaded, match="new"):
        cluster[2].propose_change([MemberChange(REMOVE, NodeId(3))])
    cluster.settle()
    cluster[2].propose_change([MemberChange(REMOVE, NodeId(3))])


def test_leader_that_finds_a_joint_configuration_leaves_it_only_when_it_counts() -> None:
    """Not before it is committed, and so is an entry of the leader's own term."""
    cluster = led(3)
    cluster.join(4)
    change(cluster, (VOTER, 4), (REMOVE, 3))
    cluster.turn(1)
    cluster.deliver(lambda m: m.to == 2)  # node 2 has the joint configuration, uncommitted
    cluster.network.clear()
    cluster.isolate(1)
    cluster.turn(2)
    cluster.network.clear()
    for _ in range(2 * ELECTION_TICKS):
        cluster[2].tick()
        cluster[3].tick()
        cluster.turn(2)
        cluster.deliver(lambda m: m.to == 2 or isinstance(m, VoteRequest))
        for number in (3, 4):
            cluster.turn(number)
        if cluster[2].role is Role.LEADER:
            break
    assert (cluster[2].role, cluster[2].configuration.is_joint) == (Role.LEADER, True)
    cluster.turn(2)
    kinds = [entry.kind for entry in cluster[2].log.slice(1, cluster[2].log.last_index, 1 << 20)]
    assert kinds[-2:] == [EntryKind.CONFIGURATION, EntryKind.NO_OP]
    cluster.settle()
    cluster.tick()
    assert cluster[2].configuration == Configuration((NodeId(1), NodeId(2), NodeId(4)))


def test_configuration_that_is_truncated_is_not_in_force_any_more() -> None:
    """A follower goes back to the configuration before, also when it restarted in between."""
    cluster = led(3)
    cluster.join(4)
    cluster.isolate(1, 2)
    change(cluster, (REMOVE, 3))
    cluster.turn(1)
    cluster.deliver()
    cluster.turn(2)
    assert cluster[2].configuration.is_joint
    cluster.members[2].restart()
    assert cluster[2].configuration.is_joint
    old = cluster[2].log.committed
    term = cluster[2].log.term(old)
    assert term is not None
    new = Entry(Term(9), LogIndex(old + 1), EntryKind.NO_OP, b"")
    cluster[2].step(Append(NodeId(3), NodeId(2), Term(9), old, term, (new,), old))
    assert cluster[2].configuration == Configuration((NodeId(1), NodeId(2), NodeId(3)))
    cluster.turn(2)
    cluster.members[2].restart()
    assert cluster[2].configuration == Configuration((NodeId(1), NodeId(2), NodeId(3)))


def test_configuration_outlives_the_front_of_the_log() -> None:
    """Every record says what was in force before it, so a log that begins later is enough."""
    cluster = led(3)
    cluster.join(4)
    change(cluster, (VOTER, 4))
    cluster.settle()
    for number in range(3):
        cluster[1].propose([b"%d" % number])
        cluster.settle()
    member = cluster.members[4]
    member.wal = member.wal[-1:]
    member.restart()
    assert member.node.configuration == Configuration((NodeId(1), NodeId(2), NodeId(3), NodeId(4)))


def test_every_end_of_the_log_tells_the_same_members() -> None:
    """Wherever the WAL begins after its front was forgotten, a restart finds the members as of every entry."""
    cluster = led(3)
    cluster.join(4)
    for changes in ([(LEARNER, 4)], [(VOTER, 4), (REMOVE, 2)], [(LEARNER, 3)], [(VOTER, 3)]):
        change(cluster, *changes)
        cluster.settle()
        cluster[1].propose([b"a", b"b"])
        cluster.settle()
    member = cluster.members[4]
    whole, expected = (
        list(member.wal),
        {n: member.node.configuration_at(LogIndex(n)) for n in range(1, member.applied + 1)},
    )
    for forgotten in range(len(whole)):
        member.wal = whole[forgotten:]
        recovery = Recovery(drop_to=LogIndex(0))
        for sequence, payload in enumerate(member.wal, 1):
            recovery.add(sequence, payload)
        if recovery.base_index > member.applied:
            break  # this record has no entries
        member.restart()
        node = member.node
        for index in range(max(1, node.log.base_index), member.applied + 1):
            assert node.configuration_at(LogIndex(index)) == expected[index], (forgotten, index)


def test_leader_that_removes_itself_leads_until_that_counts() -> None:
    """It does not count itself, steps down when the new configuration is committed, and another takes over at once."""
    cluster = led(3)
    change(cluster, (REMOVE, 1))
    cluster.settle()
    assert cluster[1].role is Role.FOLLOWER
    assert cluster.leader.id in (2, 3)
    assert cluster.leader.configuration == Configuration((NodeId(2), NodeId(3)))
    cluster.leader.propose([b"a"])
    cluster.settle()
    cluster.tick(5 * ELECTION_TICKS)
    assert (cluster.members[1].state, cluster.members[3].state) == ((), (b"a",))
    assert cluster.leader.term == 2  # the removed node disturbs nobody


def test_removed_node_stands_while_its_removal_may_not_count() -> None:
    """Only it has the entry that removes it: if it did not stand, nobody could win."""
    cluster = led(2)
    change(cluster, (REMOVE, 1))
    cluster.turn(1)
    cluster.deliver()
    cluster.turn(2)
    cluster.deliver()  # node 2 has taken the joint configuration: now it is committed, and node 1 leaves it
    cluster.turn(1)
    assert cluster[1].configuration == Configuration((NodeId(2),))
    cluster.network.clear()
    cluster.members[1].restart()
    cluster.tick(3 * ELECTION_TICKS)
    assert (cluster[2].role, cluster[2].configuration) == (Role.LEADER, Configuration((NodeId(2),)))
    cluster[2].propose([b"a"])
    cluster.settle()
    assert cluster.members[2].state == (b"a",)


def test_leader_that_demotes_itself_becomes_a_learner() -> None:
    """It follows, has the log, and never stands again."""
    cluster = led(3)
    change(cluster, (LEARNER, 1))
    cluster.settle()
    cluster.leader.propose([b"a"])
    cluster.tick(5 * ELECTION_TICKS)
    assert (cluster[1].role, cluster.members[1].state) == (Role.FOLLOWER, (b"a",))
    assert cluster.leader.configuration.learners == (1,)


def test_learner_that_does_not_know_of_its_promotion_gives_its_vote() -> None:
    """It may be needed: the candidate knows better."""
    cluster = Cluster(1)
    cluster.join(2)
    request = VoteRequest(NodeId(1), NodeId(2), Term(4), False, LogIndex(3), Term(2))
    cluster[2].step(request)
    assert cluster[2].vote == 1


def test_node_that_knows_nobody_never_stands() -> None:
    """A new node waits until a leader finds it."""
    cluster = Cluster(1)
    cluster.join(2)
    cluster.tick(5 * ELECTION_TICKS, only=2)
    assert (cluster[2].role, cluster[2].term, cluster[2].leader) == (Role.FOLLOWER, 0, NOBODY)


def test_wiped_node_is_replaced_by_a_new_one_in_one_change() -> None:
    """The lost id goes and the new one comes; the group works all the time."""
    cluster = led(3)
    cluster[1].propose([b"a"])
    cluster.settle()
    cluster.isolate(3)
    cluster.join(4)
    change(cluster, (LEARNER, 4))
    cluster.settle()
    change(cluster, (VOTER, 4), (REMOVE, 3))
    cluster[1].propose([b"b"])
    cluster.settle()
    assert cluster.members[4].state == (b"a", b"b")
    assert cluster[1].configuration == Configuration((NodeId(1), NodeId(2), NodeId(4)))


def test_witness_makes_a_majority_and_applies_nothing() -> None:
    """Two full nodes and a witness survive the loss of a full one."""
    cluster = led(2)
    cluster.join(3, witness=True)
    change(cluster, (WITNESS, 3))
    cluster.settle()
    cluster.isolate(2)
    cluster[1].propose([b"a"])
    cluster.settle()
    assert cluster.states() == [(b"a",), ()]
    assert (cluster.members[3].state, cluster[3].log.applied) == ((), cluster[1].log.committed)


def test_witness_that_alone_has_the_log_leads_only_to_hand_it_over() -> None:
    """The other full node lacks what is committed: the witness wins, brings it up to date, and gives way."""
    cluster = led(2)
    cluster.join(3, witness=True)
    change(cluster, (WITNESS, 3))
    cluster.settle()
    cluster.isolate(2)
    cluster[1].propose([b"a"])
    cluster.settle()
    cluster.heal()
    cluster.isolate(1)
    for _ in range(6 * ELECTION_TICKS):
        for number in (2, 3):
            cluster[number].tick()
            if cluster[number].role is Role.LEADER and number == 3:
                with pytest.raises(NotLeader, match="witness"):
                    cluster[3].propose([b"x"])
        cluster.settle()
    assert cluster[2].role is Role.LEADER
    assert cluster.members[2].state == (b"a",)


def test_follower_takes_the_members_word_from_a_leader_it_does_not_know() -> None:
    """Whoever leads may have joined by entries that have not come here yet."""
    cluster = led(3)
    cluster[2].step(Heartbeat(NodeId(77), NodeId(2), Term(50), LogIndex(0)))
    assert (cluster[2].leader, cluster[2].term) == (77, 50)


def test_membership_keeps_what_may_be_asked_for() -> None:
    """Configurations before the log's start go, but for the one in force there."""
    one, two, three = (Configuration(tuple(NodeId(n) for n in range(1, size + 1))) for size in (1, 2, 3))
    membership = Membership(NodeId(1), [Placed(LogIndex(0), one)])
    assert membership.alone
    for index, configuration in ((5, two), (9, three)):
        data = encode_configuration(configuration)
        membership.took([Entry(Term(1), LogIndex(index), EntryKind.CONFIGURATION, data)])
    assert [membership.at(LogIndex(index)) for index in (4, 5, 8, 9, 50)] == [one, two, two, three, three]
    assert [placed.index for placed in membership.since(LogIndex(8))] == [5, 9]
    membership.compacted(LogIndex(7))
    assert [placed.index for placed in membership.since(LogIndex(0))] == [5, 9]
    membership.truncated(LogIndex(9))
    assert (membership.current, membership.others) == (two, (2,))


def test_log_without_a_configuration_is_no_log() -> None:
    """Whoever takes entries must know who is a member before them."""
    with pytest.raises(InvariantViolated, match="R15"):
        Membership(NodeId(1), [])
