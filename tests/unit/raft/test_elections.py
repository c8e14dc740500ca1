"""What a node brings to elections: one vote a term, and patience."""

import pytest

from dwd.model.checks import InvariantViolated
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.elections import ELECTION_TICKS, Elections
from dwd.raft.types import NOBODY, HardState, VoteRequest

ME, YOU, THEY = NodeId(1), NodeId(2), NodeId(3)


def elections(term: int = 3, vote: int = 0, patience: int = 0, draw: int = 0) -> Elections:
    """A node's part in them."""
    return Elections(ME, HardState(Term(term), NodeId(vote), LogIndex(0)), patience, lambda _: draw)


def request(term: int, last: tuple[int, int], *, pre: bool = False) -> VoteRequest:
    """Node 2 asks, with a last entry (term, index)."""
    return VoteRequest(YOU, ME, Term(term), pre, LogIndex(last[1]), Term(last[0]))


def test_vote_is_given_once() -> None:
    """A second vote in a term could make a second leader; the next term has its own."""
    mine = elections()
    mine.give_vote(YOU)
    mine.give_vote(YOU)
    with pytest.raises(InvariantViolated, match="R18"):
        mine.give_vote(THEY)
    mine.enter(Term(4))
    mine.give_vote(THEY)


def test_term_never_falls() -> None:
    """It counts the elections that there were."""
    mine = elections()
    with pytest.raises(InvariantViolated, match="R12"):
        mine.enter(Term(2))


@pytest.mark.parametrize("pre", [True, False])
@pytest.mark.parametrize(
    ("last", "granted"),
    [((2, 5), True), ((2, 4), False), ((1, 9), False), ((3, 1), True), ((2, 6), True)],
)
def test_pre_vote_goes_by_the_rule_of_the_vote(last: tuple[int, int], granted: bool, pre: bool) -> None:
    """A pre-vote for a log that cannot win would let a hopeless node depose leaders for ever."""
    mine = elections(term=4)
    assert mine.grants(request(5 if pre else 4, last, pre=pre), NOBODY, Term(2), LogIndex(5)) is granted


def test_no_vote_against_a_vote_or_a_leader_of_the_term() -> None:
    """But the term after is free to be asked about."""
    assert not elections(vote=3).grants(request(3, (9, 9)), NOBODY, Term(1), LogIndex(1))
    assert not elections().grants(request(3, (9, 9)), THEY, Term(1), LogIndex(1))
    assert elections(vote=3).grants(request(4, (9, 9), pre=True), THEY, Term(1), LogIndex(1))


@pytest.mark.parametrize(("patience", "draw"), [(0, 0), (0, 9), (2, 4)])
def test_time_to_stand(patience: int, draw: int) -> None:
    """An election time-out for each degree of patience, one more, and chance."""
    mine = elections(patience=patience, draw=draw)
    ticks = 1
    while not mine.tick():
        ticks += 1
    assert ticks == ELECTION_TICKS * (1 + patience) + draw


def test_trust_in_a_leader_ends_with_time() -> None:
    """Within an election time-out of its last word nobody else is heard."""
    mine = elections(draw=9)
    for _ in range(ELECTION_TICKS - 1):
        mine.tick()
    assert mine.trusting
    mine.tick()
    assert not mine.trusting
    mine.heard_leader()
    assert mine.trusting
