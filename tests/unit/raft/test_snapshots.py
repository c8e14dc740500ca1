"""Followers that are too far behind for the log: they get a snapshot, and are never left waiting for it."""

import pytest

from dwd.model.checks import InvariantViolated
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.configuration import ChangeKind, Configuration, MemberChange
from dwd.raft.elections import ELECTION_TICKS
from dwd.raft.node import Role
from dwd.raft.progress import SNAPSHOT_TICKS_MAX, ProgressState
from dwd.raft.record import RecordPositions, Recovery, encode_record
from dwd.raft.replication import SNAPSHOTS_AT_ONCE_MAX
from dwd.raft.types import AppendReply, Entry, EntryKind, HardState, InstallSnapshot, Manifest, Message
from tests.unit.raft.cluster import Cluster

SNAPSHOT = ProgressState.SNAPSHOT


def is_snapshot(message: Message) -> bool:
    """Whether it offers one."""
    return isinstance(message, InstallSnapshot)


def behind(*numbers: int, size: int = 3) -> Cluster:
    """A group in which some nodes missed what the leader, node 1, has compacted away."""
    cluster = Cluster(size)
    cluster.elect(1)
    cluster.isolate(*numbers)
    for data in (b"a", b"b", b"c"):
        cluster[1].propose([data])
        cluster.settle()
    cluster.members[1].take_snapshot()
    cluster[1].propose([b"d"])
    cluster.settle()
    cluster[1].compact(cluster[1].log.applied)
    cluster.heal()
    return cluster


def test_follower_behind_the_log_gets_a_snapshot_and_goes_on() -> None:
    """It installs the state and then takes the entries behind it."""
    cluster = behind(3)
    cluster.tick()
    assert cluster.members[3].state == (b"a", b"b", b"c", b"d")
    assert cluster[1].progress[NodeId(3)].state is ProgressState.REPLICATE
    cluster[1].propose([b"e"])
    cluster.settle()
    assert cluster.states() == [(b"a", b"b", b"c", b"d", b"e")] * 3


def test_log_behind_the_offered_snapshot_stays() -> None:
    """Nothing leaves a log that others may need, but what a snapshot stands for; alone there is nobody to need it."""
    cluster = behind(3)
    assert cluster[1].log.offered is not None
    assert cluster[1].log.base_index == cluster[1].log.offered.index < cluster[1].log.applied
    cluster[2].compact(cluster[2].log.applied)
    assert cluster[2].log.base_index == 0


def test_restart_after_a_snapshot_begins_behind_it() -> None:
    """The WAL's record of it takes the place of the log before; what follows is kept, and so are the members."""
    cluster = behind(3)
    cluster.tick()
    before = cluster[3].log
    cluster.members[3].restart()
    after = cluster[3].log
    assert (after.base_index, after.last_index) == (before.base_index, before.last_index)
    assert cluster[3].configuration == cluster[1].configuration
    cluster.elect(1).propose([b"e"])
    cluster.settle()
    assert cluster.members[3].state[-1] == b"e"


def test_snapshot_that_is_behind_is_answered_and_changes_nothing() -> None:
    """A late or doubled one tells the leader how far this node is, or the leader would offer it for ever."""
    cluster = behind(3)
    cluster.turn(1)
    manifest = cluster[1].log.offered
    assert manifest is not None
    cluster[2].step(InstallSnapshot(NodeId(1), NodeId(2), cluster[2].term, manifest))
    ready = cluster[2].ready()
    assert ready is not None
    (reply,) = ready.messages
    assert (ready.snapshot, isinstance(reply, AppendReply) and (reply.accepted, reply.index)) == (
        None,
        (True, cluster[2].log.committed),
    )


def test_old_snapshot_is_nothing_to_a_log_that_begins_behind_it() -> None:
    """Its term cannot be looked up any more, and need not be."""
    cluster = behind(3)
    old = cluster[1].log.offered
    assert old is not None
    cluster[1].propose([b"e"])
    cluster.settle()
    cluster.tick()
    cluster.members[2].take_snapshot()
    cluster[2].compact(cluster[2].log.applied)
    before = cluster.members[2].state
    cluster[2].step(InstallSnapshot(NodeId(1), NodeId(2), cluster[2].term, old))
    cluster.settle()
    assert cluster.members[2].state == before


def test_snapshot_of_what_the_log_holds_only_commits() -> None:
    """The state is not thrown away where the log leads to it."""
    cluster = Cluster(3)
    entries = tuple(Entry(Term(1), LogIndex(n), EntryKind.COMMAND, b"%d" % n) for n in (1, 2, 3))
    cluster[2].log.accept(LogIndex(0), Term(0), entries)
    manifest = Manifest(LogIndex(2), Term(1), cluster[2].configuration, b"x")
    cluster[2].step(InstallSnapshot(NodeId(1), NodeId(2), Term(1), manifest))
    done = cluster.turn(2)
    assert [ready.snapshot for ready in done] == [None] * len(done)
    assert (cluster.members[2].state, cluster[2].log.last_index) == ((b"1", b"2"), 3)


def test_snapshot_replaces_a_log_that_conflicts() -> None:
    """Entries that nobody committed go, with what they said about the members."""
    cluster = Cluster(3)
    cluster[2].log.accept(LogIndex(0), Term(0), [Entry(Term(1), LogIndex(1), EntryKind.COMMAND, b"old")])
    members = Configuration((NodeId(1), NodeId(2)))
    cluster.snapshots[b"x"] = (b"new",)
    manifest = Manifest(LogIndex(1), Term(2), members, b"x")
    cluster[2].step(InstallSnapshot(NodeId(1), NodeId(2), Term(3), manifest))
    cluster.turn(2)
    assert (cluster.members[2].state, cluster[2].log.last_term, cluster[2].configuration) == ((b"new",), 2, members)


def until_offered(cluster: Cluster) -> None:
    """All arrives but the snapshots."""
    for _ in range(5):
        cluster[1].tick()
        for number in cluster.members:
            cluster.turn(number)
        cluster.deliver(lambda m: not is_snapshot(m))


def waiting() -> Cluster:
    """Node 3 is sent a snapshot, which does not arrive."""
    cluster = behind(3)
    until_offered(cluster)
    assert cluster[1].progress[NodeId(3)].state is SNAPSHOT
    cluster.network = [m for m in cluster.network if not is_snapshot(m)]
    return cluster


def offer_again(cluster: Cluster) -> None:
    """What was lost does arrive."""
    manifest = cluster[1].log.offered
    assert manifest is not None
    cluster[3].step(InstallSnapshot(NodeId(1), NodeId(3), cluster[1].term, manifest))


def test_power_cut_between_log_and_state_is_mended_at_the_start() -> None:
    """The WAL says which snapshot the state must come from: its content is there already."""
    cluster = waiting()
    offer_again(cluster)
    member = cluster.members[3]
    ready = member.node.ready()
    assert ready is not None
    assert ready.hard_state is not None
    assert ready.must_sync
    member.wal.append(encode_record(ready.hard_state, ready.entries, ready.snapshot))
    member.restart()
    assert member.state == (b"a", b"b", b"c")
    cluster.tick(SNAPSHOT_TICKS_MAX)
    assert cluster.states()[2] == (b"a", b"b", b"c", b"d")


def test_lost_snapshot_is_sent_again() -> None:
    """By time alone, when nobody reports anything: no follower waits for ever."""
    cluster = waiting()
    cluster.tick(SNAPSHOT_TICKS_MAX - 5)
    assert cluster.states()[2] == ()
    cluster.tick(10)
    assert cluster.states()[2] == (b"a", b"b", b"c", b"d")


@pytest.mark.parametrize("report", ["failed", "unreachable", "arrived and lost"])
def test_reported_failure_is_tried_again_at_the_next_sign_of_life(report: str) -> None:
    """Also when the report itself is wrong: what the follower says is what counts."""
    cluster = waiting()
    if report == "unreachable":
        cluster[1].report_unreachable(NodeId(3))
    else:
        cluster[1].report_snapshot(NodeId(3), ok=report != "failed")
    cluster.tick(3)
    assert cluster.members[3].state == (b"a", b"b", b"c", b"d")


def test_reported_success_goes_on_behind_the_snapshot() -> None:
    """The answer to the snapshot itself may be lost."""
    cluster = waiting()
    offer_again(cluster)
    cluster.turn(3)
    cluster.network.clear()
    cluster[1].report_snapshot(NodeId(3), ok=True)
    cluster.tick(2)
    assert cluster[1].progress[NodeId(3)].state is ProgressState.REPLICATE
    assert cluster.members[3].state == (b"a", b"b", b"c", b"d")


def test_any_snapshot_that_lets_replication_go_on_will_do() -> None:
    """The follower got an older one elsewhere: if the log reaches back to it, the leader goes on from there."""
    cluster = waiting()
    leader = cluster[1]
    newer = cluster.members[1].take_snapshot()
    assert newer.index > leader.log.base_index
    leader.step(AppendReply(NodeId(3), NodeId(1), leader.term, True, leader.log.base_index, LogIndex(0), Term(0)))
    assert leader.progress[NodeId(3)].state is ProgressState.REPLICATE


def test_leader_without_a_usable_snapshot_asks_for_one() -> None:
    """The shell makes one and offers it; then the follower gets it."""
    cluster = Cluster(1)
    cluster.elect(1)
    cluster[1].propose([b"a"])
    cluster.settle()
    cluster[1].compact(cluster[1].log.applied)
    cluster.join(2)
    cluster[1].propose_change([MemberChange(ChangeKind.LEARNER, NodeId(2))])
    cluster.tick(3)
    assert (cluster[1].snapshot_wanted, cluster.members[2].state) == (True, ())
    cluster.members[1].take_snapshot()
    cluster.tick(3)
    assert (cluster[1].snapshot_wanted, cluster.members[2].state) == (False, (b"a",))
    assert cluster[2].configuration == cluster[1].configuration


def test_only_so_many_snapshots_at_once() -> None:
    """Streams share a disk and a network: the others wait for their turn, and get it."""
    cluster = behind(3, 4, 5, size=7)
    until_offered(cluster)
    assert sum(p.state is SNAPSHOT for p in cluster[1].progress.values()) == SNAPSHOTS_AT_ONCE_MAX
    cluster.tick(3)
    assert cluster.states() == [(b"a", b"b", b"c", b"d")] * 7


def test_witness_can_give_back_what_it_answers_for() -> None:
    """The only full node that has the log's front dies: the witness, which took a snapshot, gives it to the other."""
    cluster = behind(3)
    cluster.join(9, witness=True)
    cluster.isolate(3)
    cluster[1].propose_change([MemberChange(ChangeKind.WITNESS, NodeId(9)), MemberChange(ChangeKind.REMOVE, NodeId(2))])
    cluster.tick(4)
    assert cluster[9].log.base_index > 0
    assert cluster[1].configuration.voters == (1, 3, 9)
    cluster.members[9].restart()
    cluster.heal()
    cluster.isolate(1)
    cluster.tick(8 * ELECTION_TICKS)
    assert (cluster[3].role, cluster.members[3].state) == (Role.LEADER, (b"a", b"b", b"c", b"d"))


def test_snapshot_of_the_future_is_no_offer() -> None:
    """Nothing is given away that is not applied here."""
    cluster = Cluster(1)
    cluster.elect(1)
    with pytest.raises(InvariantViolated, match="R17"):
        cluster[1].offer_snapshot(Manifest(LogIndex(9), Term(1), cluster[1].configuration, b"x"))


def test_snapshot_behind_the_commit_is_no_restore() -> None:
    """What is committed is never thrown away."""
    cluster = Cluster(1)
    cluster.elect(1)
    with pytest.raises(InvariantViolated, match="R16"):
        cluster[1].log.restore(Manifest(LogIndex(1), Term(1), cluster[1].configuration, b"x"))


def test_snapshot_lets_the_wal_forget_what_is_before_it() -> None:
    """But only when the state store has it for good."""
    positions = RecordPositions()
    positions.note(1, [Entry(Term(1), LogIndex(1), EntryKind.NO_OP, b"")])
    positions.note(2, [], Manifest(LogIndex(90), Term(1), Configuration(), b"x"))
    assert (positions.needed_from(LogIndex(1)), positions.needed_from(LogIndex(90))) == (0, 2)


def test_record_with_a_snapshot_comes_back() -> None:
    """Entries in the same record follow it."""
    members = Configuration((NodeId(1), NodeId(2)))
    manifest = Manifest(LogIndex(90), Term(4), members, b"name")
    recovery = Recovery(drop_to=LogIndex(0))
    recovery.add(
        1,
        encode_record(HardState(Term(1), NodeId(0), LogIndex(0)), [Entry(Term(1), LogIndex(1), EntryKind.NO_OP, b"")]),
    )
    entry = Entry(Term(5), LogIndex(91), EntryKind.COMMAND, b"x")
    recovery.add(2, encode_record(HardState(Term(5), NodeId(2), LogIndex(90)), [entry], manifest))
    assert (recovery.base_index, recovery.base_term, recovery.entries) == (90, 4, [entry])
    assert (recovery.snapshot, recovery.configurations[-1].configuration) == (manifest, members)
