"""A leader's lease: reads without asking anyone. The log is the lease (LeaseGuard, arXiv 2512.15659).

An entry that a leader has committed in its term is a lease for `lease_ns` from the entry's making. A later leader has
that entry in its log, and commits nothing until the lease must be over. Elections know nothing of it.

Each node has its own clock, which never stops or jumps back and gains or loses at most a tenth on any other; it comes
in with ticks, and no two clocks need to agree. So whoever holds a lease counts from before the making of the entry,
and whoever waits counts a tenth longer, from behind its arrival.
"""

from collections import deque
from typing import Final

from dwd.model.ids import LogIndex

DRIFT_TENTHS: Final = 1  # how much two clocks may part in a time of ten tenths
_MARKS_MAX: Final = 256  # coarser beyond: an entry counts as made when one before it was


class LeaseClock:
    """A node's clock, and when it last took anything that may be somebody's lease."""

    def __init__(self, lease_ns: int) -> None:
        self.lease_ns = lease_ns
        self.now = 0
        self._took_at = 0
        self._took_since_tick = True  # what came before the restart may have come just now

    def tick(self, now_ns: int) -> None:
        """The time is at least this."""
        self.now = max(self.now, now_ns)
        if self._took_since_tick:
            self._took_at, self._took_since_tick = self.now, False

    def took(self) -> None:
        """Entries of a leader have come, later than the last tick and earlier than the next."""
        self._took_since_tick = True

    @property
    def another_may_hold_one(self) -> bool:
        """Whether a leader of an earlier term may still serve reads."""
        waited_tenths = (self.now - self._took_at) * 10
        return self._took_since_tick or waited_tenths <= self.lease_ns * (10 + DRIFT_TENTHS)


class Lease:
    """The lease of one leader's term."""

    def __init__(self, clock: LeaseClock, *, excused: bool) -> None:
        """`excused`: the leader before gave up its lease for this one."""
        self._clock = clock
        self._over = excused or clock.lease_ns == 0  # the leases of others
        self._made: deque[tuple[LogIndex, int]] = deque()  # entries up to the index were made at the time or later
        self._marked = LogIndex(0)
        self._last_tick = clock.now
        self._from: int | None = None
        self._given_up = False
        self._asked = False

    @property
    def forbids_commit(self) -> bool:
        """Whether another's lease may still be good: then nothing new may count."""
        if not self._over:
            self._over = not self._clock.another_may_hold_one
        return not self._over

    def tick(self, last_index: LogIndex) -> None:
        """Time passed; entries up to here were made before."""
        if self._clock.lease_ns == 0:
            return
        if last_index > self._marked:
            since = self._made[-1][1] if len(self._made) >= _MARKS_MAX else self._last_tick
            if len(self._made) >= _MARKS_MAX:
                self._made.pop()
            self._made.append((last_index, since))
            self._marked = last_index
        self._last_tick = self._clock.now

    def committed(self, index: LogIndex) -> None:
        """An entry of this term counts: it is a lease from its making."""
        if self._clock.lease_ns == 0:
            return
        while self._made and self._made[0][0] < index:
            self._made.popleft()
        self._from = self._made[0][1] if self._made else self._last_tick

    def holds(self, now_ns: int) -> bool:
        """Whether this leader may serve reads by itself at this time."""
        self._asked = True
        if self._from is None or self._given_up:
            return False
        return max(now_ns, self._clock.now) - self._from < self._clock.lease_ns

    def give_up(self) -> None:
        """Serve no read from it any more in this term."""
        self._given_up = True

    def wants_renewal(self) -> bool:
        """Whether somebody reads, and half of the lease is over: a new entry renews it."""
        asked, self._asked = self._asked, False
        if not asked or self._from is None or self._given_up:
            return False
        return (self._clock.now - self._from) * 2 >= self._clock.lease_ns
