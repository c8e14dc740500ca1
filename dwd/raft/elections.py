"""What a node brings to elections: its term, its vote, its patience, and the votes that it was given."""

from collections.abc import Callable
from typing import Final

from dwd.model.checks import invariant
from dwd.model.ids import LogIndex, NodeId, Term
from dwd.raft.quorum import Outcome, Voters
from dwd.raft.types import NOBODY, HardState, VoteRequest

ELECTION_TICKS: Final = 10  # and up to as many more by chance; also how long a leader is trusted


class Elections:
    """The vote is given once a term, and the term never falls."""

    def __init__(self, node: NodeId, hard_state: HardState, patience: int, draw: Callable[[int], int]) -> None:
        """Begin with what the WAL held. With `patience`, wait so many election time-outs longer than others."""
        self._id = node
        self.term = hard_state.term
        self.vote = hard_state.vote
        self._patience = patience
        self._draw = draw
        self._votes: dict[NodeId, bool] = {}
        self._elapsed = 0
        self._timeout = 0
        self.start_timer()

    def start_timer(self) -> None:
        """Wait anew before standing."""
        self._elapsed = 0
        self._timeout = ELECTION_TICKS * (1 + self._patience) + self._draw(ELECTION_TICKS)

    def heard_leader(self) -> None:
        """There is a leader, and it is well."""
        self._elapsed = 0

    def tick(self) -> bool:
        """Time passes. Returns whether it is time to stand."""
        self._elapsed += 1
        return self._elapsed >= self._timeout

    @property
    def trusting(self) -> bool:
        """Whether a leader was heard so lately that nobody else should lead."""
        return self._elapsed < ELECTION_TICKS

    def enter(self, term: Term) -> None:
        """Go on to a later term, in which nobody has this node's vote."""
        invariant(term >= self.term, "R12", f"term {self.term} to {term}")
        if term > self.term:
            self.term, self.vote = term, NOBODY

    def stand(self) -> None:
        """Begin the next term, with a vote for oneself."""
        self.enter(Term(self.term + 1))
        self.give_vote(self._id)

    def give_vote(self, node: NodeId) -> None:
        """This term's only vote."""
        invariant(self.vote in (NOBODY, node), "R18", (self.term, self.vote, node))
        self.vote = node
        self.start_timer()

    def ask(self) -> None:
        """Count the votes from here on."""
        self._votes = {self._id: True}

    def count(self, voter: NodeId, granted: bool) -> None:  # noqa: FBT001
        """An answer has come; the first of each voter counts."""
        self._votes.setdefault(voter, granted)

    def outcome(self, quorum: Voters) -> Outcome:
        """Where the vote stands."""
        return quorum.outcome(self._votes)

    def grants(self, request: VoteRequest, leader: NodeId, last_term: Term, last_index: LogIndex) -> bool:
        """Whether this node's vote is given: if it is free, and to nobody whose log is older than its own.

        The same rule answers a pre-vote: whoever could not win shall not try.
        """
        free = self.vote in (NOBODY, request.sender) and leader in (NOBODY, request.sender)
        able = free or (request.pre and request.term > self.term)
        return able and (request.last_term, request.last_index) >= (last_term, last_index)
