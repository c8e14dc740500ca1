"""Majorities, and pairs of majorities while a group's membership changes. Pure set arithmetic."""

from collections.abc import Mapping
from enum import Enum

import attrs

from dwd.model.checks import invariant
from dwd.model.ids import LogIndex, NodeId


class Outcome(Enum):
    """Where a vote stands."""

    WON = "won"
    LOST = "lost"
    PENDING = "pending"


@attrs.frozen
class Voters:
    """Who decides. While membership changes, a decision needs a majority of both sets."""

    incoming: frozenset[NodeId]
    outgoing: frozenset[NodeId] = frozenset()

    def __attrs_post_init__(self) -> None:
        """A group without voters could decide anything."""
        invariant(len(self.incoming) > 0, "R1", "a group needs a voter")

    @property
    def everyone(self) -> frozenset[NodeId]:
        """All voters, of both sets."""
        return self.incoming | self.outgoing

    def committed(self, match: Mapping[NodeId, LogIndex]) -> LogIndex:
        """The last index that a quorum has, when each voter has the log up to match[voter]."""
        index = _majority_has(self.incoming, match)
        return min(index, _majority_has(self.outgoing, match)) if self.outgoing else index

    def outcome(self, votes: Mapping[NodeId, bool]) -> Outcome:
        """Where a vote stands when `votes` have come in."""
        first = _majority_says(self.incoming, votes)
        second = _majority_says(self.outgoing, votes) if self.outgoing else Outcome.WON
        if Outcome.LOST in (first, second):
            return Outcome.LOST
        return Outcome.WON if first is second is Outcome.WON else Outcome.PENDING


def _majority_has(voters: frozenset[NodeId], match: Mapping[NodeId, LogIndex]) -> LogIndex:
    indices = sorted(match.get(voter, LogIndex(0)) for voter in voters)
    return indices[(len(indices) - 1) // 2]


def _majority_says(voters: frozenset[NodeId], votes: Mapping[NodeId, bool]) -> Outcome:
    needed = len(voters) // 2 + 1
    granted = sum(votes.get(voter, False) for voter in voters)
    missing = sum(voter not in votes for voter in voters)
    if granted >= needed:
        return Outcome.WON
    return Outcome.PENDING if granted + missing >= needed else Outcome.LOST
