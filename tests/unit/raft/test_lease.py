"""Reads by lease: who may serve them until when, and who must wait for that."""

from dwd.model.ids import LogIndex, NodeId
from dwd.raft.elections import ELECTION_TICKS
from dwd.raft.lease import Lease, LeaseClock
from dwd.raft.node import Role
from dwd.raft.types import TimeoutNow
from tests.unit.raft.cluster import Cluster

TICK = 100
LEASE = 10 * TICK


def led() -> Cluster:
    """Three nodes with leases; node 1 leads and has committed a command."""
    cluster = Cluster(3, lease_ns=LEASE)
    cluster.elect(1)
    cluster.tick(15, step_ns=TICK)
    cluster[1].propose([b"a"])
    cluster.settle()
    return cluster


def now(cluster: Cluster, number: int) -> int:
    """A node's clock."""
    return cluster[number]._member._clock.now


def test_leader_reads_alone_until_its_newest_entry_is_old() -> None:
    """Committing an entry is the lease, from before the entry's making."""
    cluster = led()
    at = now(cluster, 1)
    assert cluster[1].lease_read(at) == cluster[1].log.committed
    assert cluster[1].lease_read(at + LEASE - 1) is not None
    assert cluster[1].lease_read(at + LEASE) is None
    assert cluster[2].lease_read(at) is None


def test_entry_counts_from_its_making_not_from_its_commit() -> None:
    """A commit that took long grants little."""
    cluster = led()
    made = now(cluster, 1)
    cluster[1].propose([b"b"])
    cluster.turn(1)
    held, cluster.network = cluster.network, []
    cluster.tick(5, step_ns=TICK)
    cluster.network = held
    cluster.settle()
    assert cluster[1].lease_read(made + LEASE - 1) is not None
    assert cluster[1].lease_read(made + LEASE) is None


def test_new_leader_commits_nothing_while_a_lease_may_hold() -> None:
    """It is elected at once, takes writes, and tells nobody that they are done until the lease is over."""
    cluster = led()
    cluster.isolate(1)
    cluster.tick(2 * ELECTION_TICKS)  # their clocks stand still: no lease ends
    assert cluster.leader.id in (2, 3)
    leader = cluster.leader
    leader.propose([b"b"])
    before = leader.log.committed
    cluster.tick(LEASE // TICK, step_ns=TICK)
    assert leader.log.committed == before
    cluster.tick(3, step_ns=TICK)
    assert leader.log.committed == leader.log.last_index
    assert cluster.members[leader.id].state == (b"a", b"b")


def test_waiting_leader_answers_no_reads() -> None:
    """It does not know what the lease's holder has acknowledged before it has committed itself."""
    cluster = led()
    cluster.isolate(1)
    cluster.tick(2 * ELECTION_TICKS)
    cluster.leader.read_index()
    cluster.tick(2)
    assert cluster.members[cluster.leader.id].reads == []
    cluster.tick(2 * LEASE // TICK, step_ns=TICK)
    assert len(cluster.members[cluster.leader.id].reads) == 1


def test_clocks_that_part_by_a_tenth_do_no_harm() -> None:
    """The holder's clock is slow, the waiting one's is fast: the lease ends first all the same."""
    holder, waiter = LeaseClock(LEASE), LeaseClock(LEASE)
    holder.tick(0)
    waiter.tick(0)
    lease = Lease(holder, excused=False)
    lease.committed(LogIndex(1))
    waiter.took()
    waiter.tick(0)
    for true_time in range(0, 2 * LEASE, 10):
        waiter.tick(true_time * 1049 // 1000)
        assert not (lease.holds(true_time * 954 // 1000) and not waiter.another_may_hold_one)


def test_hand_over_does_not_wait() -> None:
    """The leader gives up its lease with its office, so its successor commits at once."""
    cluster = led()
    cluster[1].transfer(NodeId(2))
    cluster.settle()
    cluster[2].propose([b"b"])
    cluster.settle()
    assert (cluster[2].role, cluster.members[2].state) == (Role.LEADER, (b"a", b"b"))


def test_leader_that_still_waits_gives_up_no_lease_of_others() -> None:
    """It hands over before it has committed: its successor must wait for the lease that it waited for itself."""
    cluster = led()
    cluster.isolate(1)
    cluster.tick(2 * ELECTION_TICKS)
    cluster[2].transfer(NodeId(3))
    cluster.turn(2)
    assert [m.gives_up_lease for m in cluster.network if isinstance(m, TimeoutNow)] == [False]
    cluster.settle()
    before = cluster[3].log.committed
    cluster.tick(2)
    assert (cluster[3].role, cluster[3].log.committed) == (Role.LEADER, before)


def test_what_came_since_the_last_tick_may_have_come_just_now() -> None:
    """The clock is read at ticks only."""
    clock = LeaseClock(LEASE)
    clock.tick(0)
    clock.tick(5 * LEASE)
    before = clock.another_may_hold_one
    clock.took()
    assert (before, clock.another_may_hold_one) == (False, True)


def test_aborted_hand_over_costs_the_lease_for_the_term() -> None:
    """The target may still stand, later, and would not wait."""
    cluster = led()
    cluster[1].transfer(NodeId(2))
    cluster.turn(1)
    (late,) = [message for message in cluster.network if isinstance(message, TimeoutNow)]
    cluster.network.clear()
    cluster.tick(ELECTION_TICKS + 1, step_ns=TICK)
    cluster[1].propose([b"b"])
    cluster.settle()
    assert (cluster[1].role, cluster[1].transferee) == (Role.LEADER, None)
    assert cluster[1].lease_read(now(cluster, 1)) is None
    assert late.gives_up_lease


def test_excuse_is_good_for_the_next_term_only() -> None:
    """Between a hand-over that failed and a later term another may have led, and had a lease."""
    cluster = led()
    cluster[2].step(TimeoutNow(NodeId(1), NodeId(2), cluster[2].term, gives_up_lease=True))
    cluster.turn(2)
    cluster.network.clear()  # nobody hears of it
    cluster.isolate(1)
    cluster.tick(2 * ELECTION_TICKS)
    assert (cluster[2].role, cluster[2].term > 2) == (Role.LEADER, True)
    before = cluster[2].log.committed
    cluster.tick(2)
    assert cluster[2].log.committed == before


def test_restarted_node_counts_from_its_start() -> None:
    """It cannot know when its entries came."""
    cluster = led()
    for number in (2, 3):
        cluster.members[number].restart()
    cluster.isolate(1)
    cluster.tick(2 * ELECTION_TICKS)
    leader = cluster.leader
    before = leader.log.committed
    cluster.tick(LEASE // TICK, step_ns=TICK)
    assert leader.log.committed == before


def test_lease_is_renewed_while_somebody_reads() -> None:
    """And only then: an idle group writes nothing."""
    cluster = led()
    last = cluster[1].log.last_index
    cluster.tick(30, step_ns=TICK)
    assert cluster[1].log.last_index == last
    cluster[1].propose([b"b"])
    cluster.settle()
    for _ in range(30):
        assert cluster[1].lease_read(now(cluster, 1)) is not None
        cluster.tick(step_ns=TICK)
    assert last + 3 < cluster[1].log.last_index < last + 12


def test_marks_of_time_are_bounded() -> None:
    """Under a flood of entries the lease is counted from earlier, never from later."""
    clock = LeaseClock(LEASE)
    lease = Lease(clock, excused=True)
    for tick in range(1, 1001):
        clock.tick(tick)
        lease.tick(LogIndex(tick))
    assert len(lease._made) < 300
    lease.committed(LogIndex(1000))
    assert lease._from is not None
    assert lease._from <= 999
