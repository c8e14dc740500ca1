"""Majorities against a definition written another way."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.model.ids import LogIndex, NodeId
from dwd.raft.quorum import Outcome, Voters

NODES = st.frozensets(st.integers(1, 5).map(NodeId), min_size=1, max_size=5)
GROUPS = st.builds(Voters, NODES, st.one_of(st.just(frozenset()), NODES))


def quorums(voters: Voters) -> list[frozenset[NodeId]]:
    """Every set of nodes that holds more than half of each set of voters."""
    everyone = sorted(voters.everyone)
    sets = [s for s in (voters.incoming, voters.outgoing) if s]
    subsets = [frozenset(c) for n in range(len(everyone) + 1) for c in combinations(everyone, n)]
    return [q for q in subsets if all(2 * len(q & s) > len(s) for s in sets)]


@given(GROUPS, st.dictionaries(st.integers(1, 5).map(NodeId), st.integers(0, 9).map(LogIndex)))
@settings(derandomize=True, max_examples=100, deadline=None)
def test_committed_is_what_some_quorum_has(voters: Voters, match: dict[NodeId, LogIndex]) -> None:
    """The commit index is the greatest that all members of some quorum have."""
    expected = max(min(match.get(node, 0) for node in quorum) for quorum in quorums(voters))
    assert voters.committed(match) == expected


@given(GROUPS, st.dictionaries(st.integers(1, 5).map(NodeId), st.booleans()))
@settings(derandomize=True, max_examples=100, deadline=None)
def test_vote_is_won_by_a_quorum_and_lost_when_none_is_left(voters: Voters, votes: dict[NodeId, bool]) -> None:
    """Won: a quorum said yes. Lost: every quorum has someone who said no. Otherwise it is open."""
    yes = {node for node, vote in votes.items() if vote}
    no = {node for node, vote in votes.items() if not vote}
    won = any(quorum <= yes for quorum in quorums(voters))
    lost = all(quorum & no for quorum in quorums(voters))
    assert voters.outcome(votes) is (Outcome.WON if won else Outcome.LOST if lost else Outcome.PENDING)


@given(GROUPS)
@settings(derandomize=True, max_examples=50, deadline=None)
def test_two_quorums_always_meet(voters: Voters) -> None:
    """The rule that everything rests on, also while membership changes."""
    assert all(one & other for one in quorums(voters) for other in quorums(voters))
