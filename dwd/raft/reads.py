"""Rounds of reads: a leader asks a quorum whether it still leads, for all reads that gathered meanwhile at once.

A round has a number that is given once in a term, and a term has one leader: no answer is ever taken for that of
another round. Answering round n, a follower speaks at a time behind the beginning of n, so of every round before.
"""

from collections import deque
from typing import Final

import attrs

from dwd.model.ids import LogIndex, NodeId
from dwd.raft.quorum import Outcome, Voters
from dwd.raft.types import ReadContext

ROUNDS_MAX: Final = 8  # wait: reads gather for the next round
CONTEXTS_MAX: Final = 1024  # drop: whoever asked will ask again


@attrs.frozen
class Round:
    """What was asked before it began, and how far the log was committed then."""

    number: int
    index: LogIndex
    contexts: tuple[ReadContext, ...]


class ReadRounds:
    """The rounds of one leader's term."""

    def __init__(self, node: NodeId) -> None:
        self._id = node
        self.gathered: list[ReadContext] = []
        self._rounds: deque[Round] = deque()  # under way, oldest first
        self._newest = 0
        self._answered: dict[NodeId, int] = {}  # the newest round that each follower answered

    @property
    def awaited(self) -> int:
        """The newest round that is under way; 0: none is."""
        return self._rounds[-1].number if self._rounds else 0

    @property
    def may_begin(self) -> bool:
        """Whether reads have gathered, and there is room for a round."""
        return bool(self.gathered) and len(self._rounds) < ROUNDS_MAX

    def ask(self, context: ReadContext) -> None:
        """Somebody wants to read."""
        if len(self.gathered) < CONTEXTS_MAX:
            self.gathered.append(context)

    def begin(self, committed: LogIndex) -> int:
        """Begin a round for all that gathered; returns its number."""
        self._newest += 1
        self._rounds.append(Round(self._newest, committed, tuple(self.gathered)))
        self.gathered.clear()
        return self._newest

    def answered(self, node: NodeId, number: int) -> None:
        """A follower has answered a round; late and doubled answers say nothing new."""
        self._answered[node] = max(number, self._answered.get(node, 0))

    def confirmed(self, quorum: Voters) -> list[Round]:
        """The rounds that a quorum has answered: each is given out once."""
        done: list[Round] = []
        while self._rounds:
            first = self._rounds[0]
            votes = {node: True for node, number in self._answered.items() if number >= first.number}
            if quorum.outcome({**votes, self._id: True}) is not Outcome.WON:
                break
            done.append(self._rounds.popleft())
        return done
