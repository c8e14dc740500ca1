"""What a leader knows of one follower's log, and how much it may send before it hears back."""

from collections import deque
from enum import Enum
from typing import Final

from dwd.model.checks import invariant
from dwd.model.ids import LogIndex
from dwd.model.units import MIB

APPENDS_IN_FLIGHT_MAX: Final = 64  # wait: of one follower; the next reply or heartbeat makes room
BYTES_IN_FLIGHT_MAX: Final = 16 * MIB  # wait: the same
SNAPSHOT_TICKS_MAX: Final = 100  # without news of it; then the follower is asked again where it stands


class ProgressState(Enum):
    """What a follower is sent."""

    PROBE = "probe"  # one message at a time, until the logs are known to meet
    REPLICATE = "replicate"  # a pipeline
    SNAPSHOT = "snapshot"  # nothing, until it has installed a snapshot or failed to


class Progress:
    """match < next: all up to `match` is on the follower's disk, `next` is what to send."""

    def __init__(self, next_index: LogIndex) -> None:
        self.match = LogIndex(0)
        self.next = next_index
        self.state = ProgressState.PROBE
        self.heard = False  # since the last quorum check
        self._probe_sent = False
        self._in_flight: deque[tuple[LogIndex, int]] = deque()  # of each unanswered message: its last index, its bytes
        self._bytes_in_flight = 0
        self._snapshot_index = LogIndex(0)
        self._snapshot_ticks = 0

    @property
    def paused(self) -> bool:
        """Whether nothing may be sent until something is heard."""
        match self.state:
            case ProgressState.PROBE:
                return self._probe_sent
            case ProgressState.REPLICATE:
                return len(self._in_flight) >= APPENDS_IN_FLIGHT_MAX or self._bytes_in_flight >= BYTES_IN_FLIGHT_MAX
            case ProgressState.SNAPSHOT:
                return True

    def sent(self, last: LogIndex, size: int) -> None:
        """Entries up to `last`, of `size` bytes, are on their way; none, if `size` is 0."""
        if self.state is ProgressState.PROBE:
            self._probe_sent = True
        elif size > 0:
            self.next = LogIndex(last + 1)
            self._in_flight.append((last, size))
            self._bytes_in_flight += size
        self._check()

    def accepted(self, index: LogIndex, log_begins: LogIndex) -> bool:
        """The follower has all up to `index`. Returns whether that is news.

        Whatever snapshot it was sent: if the log goes on behind what it has, it needs none.
        """
        news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, LogIndex(index + 1))
        if self.state is not ProgressState.REPLICATE and index >= self.match >= log_begins:
            self._become(ProgressState.REPLICATE, self.match)
        while self._in_flight and self._in_flight[0][0] <= index:
            self._landed()
        self._check()
        return news

    def rejected(self, index: LogIndex, retry_from: LogIndex) -> bool:
        """The follower has no such entry at `index`. Returns whether to send again; an old reply changes nothing."""
        if index <= self.match or self.state is ProgressState.SNAPSHOT:
            return False
        if self.state is ProgressState.PROBE and index != self.next - 1:
            return False
        self._become(ProgressState.PROBE, LogIndex(max(self.match, min(index - 1, retry_from))))
        return True

    def answered_heartbeat(self) -> None:
        """It lives: what was sent may be lost, so something may be sent again."""
        self.heard = True
        self._probe_sent = False
        if self.state is ProgressState.REPLICATE and self.paused:
            self._landed()

    def wait(self) -> None:
        """What it needs cannot be sent now: try again when it is heard."""
        self._become(ProgressState.PROBE, self.match)
        self._probe_sent = True

    def snapshot_sent(self, index: LogIndex) -> None:
        """A snapshot that reaches to `index` is offered to it."""
        self._become(ProgressState.SNAPSHOT, self.match)
        self._snapshot_index, self._snapshot_ticks = index, 0

    def snapshot_ended(self, *, ok: bool) -> None:
        """It has the snapshot, or the way there failed: see where it stands when it is heard again."""
        if self.state is ProgressState.SNAPSHOT:
            behind = max(self.match, self._snapshot_index) if ok else self.match
            self._become(ProgressState.PROBE, behind)
            self._probe_sent = True

    def unreachable(self) -> None:
        """A message to it was lost for certain: what was sent behind it is, too."""
        if self.state is ProgressState.REPLICATE:
            self._become(ProgressState.PROBE, self.match)
        else:
            self.snapshot_ended(ok=False)

    def tick(self) -> None:
        """Time passes: no follower waits for ever for a snapshot whose sender says nothing."""
        if self.state is ProgressState.SNAPSHOT:
            self._snapshot_ticks += 1
            if self._snapshot_ticks >= SNAPSHOT_TICKS_MAX:
                self.snapshot_ended(ok=False)

    def _become(self, state: ProgressState, behind: LogIndex) -> None:
        self.state = state
        self.next = LogIndex(behind + 1)
        self._probe_sent = False
        self._in_flight.clear()
        self._bytes_in_flight = 0
        self._check()

    def _landed(self) -> None:
        self._bytes_in_flight -= self._in_flight.popleft()[1]

    def _check(self) -> None:
        invariant(self.match < self.next, "R8", f"match {self.match}, next {self.next}")
