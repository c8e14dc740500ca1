"""What a leader knows of one follower's log, and how much it may send before it hears back."""

from collections import deque
from typing import Final

from dwd.model.checks import invariant
from dwd.model.ids import LogIndex

APPENDS_IN_FLIGHT_MAX: Final = 64  # wait: of one follower; the next reply or heartbeat makes room


class Progress:
    """Probing: one message at a time until the logs are known to meet. Replicating: a pipeline.

    match < next: all up to `match` is on the follower's disk, `next` is what to send.
    """

    def __init__(self, next_index: LogIndex) -> None:
        self.match = LogIndex(0)
        self.next = next_index
        self.replicating = False
        self.heard = False  # since the last quorum check
        self._probe_sent = False
        self._in_flight: deque[LogIndex] = deque()  # the last index of each unanswered message

    @property
    def paused(self) -> bool:
        """Whether nothing may be sent until something is heard."""
        return len(self._in_flight) >= APPENDS_IN_FLIGHT_MAX if self.replicating else self._probe_sent

    def sent(self, last: LogIndex, *, empty: bool) -> None:
        """Entries up to `last` are on their way."""
        if not self.replicating:
            self._probe_sent = True
        elif not empty:
            self.next = LogIndex(last + 1)
            self._in_flight.append(last)
        self._check()

    def accepted(self, index: LogIndex) -> bool:
        """The follower has all up to `index`. Returns whether that is news."""
        news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, LogIndex(index + 1))
        if not self.replicating and index >= self.match:
            self.replicating, self._probe_sent = True, False
            self.next = LogIndex(self.match + 1)
        while self._in_flight and self._in_flight[0] <= index:
            self._in_flight.popleft()
        self._check()
        return news

    def rejected(self, index: LogIndex, retry_from: LogIndex) -> bool:
        """The follower has no such entry at `index`. Returns whether to send again; an old reply changes nothing."""
        if index <= self.match or (not self.replicating and index != self.next - 1):
            return False
        self.next = LogIndex(max(self.match, min(index - 1, retry_from)) + 1)
        self.replicating, self._probe_sent = False, False
        self._in_flight.clear()
        self._check()
        return True

    def answered_heartbeat(self) -> None:
        """It lives: what was sent may be lost, so something may be sent again."""
        self.heard = True
        self._probe_sent = False
        if self.replicating and self.paused:
            self._in_flight.popleft()

    def _check(self) -> None:
        invariant(self.match < self.next, "R8", f"match {self.match}, next {self.next}")
