"""Both descriptors on which work arrives, the kernel's and the daemon's, looked at without trio.

Parking a task in trio and waking it costs more than most requests take. Whoever waits here instead
first spins for a moment, then sleeps in the kernel for a moment, and gives up: then it must park.
It looks at both descriptors, so that what one of them brings never waits for the other.
"""

import select
import time
from typing import Final

import attrs

from dwfs.cache.spinning import SpinPolicy

SPIN_S: Final = 60e-6  # busy: longer than a program takes between two calls, or the daemon for what needs no disk
SLEEP_MS: Final = 2  # asleep; what only trio knows of (timers, threads) waits so long at most


@attrs.frozen
class Ready:
    """What can be read."""

    kernel: bool
    daemon: bool


_NOTHING: Final = Ready(kernel=False, daemon=False)


class Watch:
    """Looks at the kernel's and the daemon's descriptor."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._kernel: int | None = None
        self._daemon: int | None = None

    def set_kernel(self, descriptor: int) -> None:
        """The FUSE session's descriptor."""
        self._kernel = descriptor
        self._poll.register(descriptor, select.POLLIN)

    def set_daemon(self, descriptor: int | None) -> None:
        """The connection's descriptor, while there is one."""
        if self._daemon is not None:
            self._poll.unregister(self._daemon)
        self._daemon = descriptor
        if descriptor is not None:
            self._poll.register(descriptor, select.POLLIN)

    def look(self, timeout_ms: int = 0) -> Ready:
        """What can be read now, or within the time."""
        found = self._poll.poll(timeout_ms)
        if not found:
            return _NOTHING
        descriptors = [descriptor for descriptor, _ in found]
        return Ready(kernel=self._kernel in descriptors, daemon=self._daemon in descriptors)

    def wait(self, policy: SpinPolicy) -> Ready:
        """What comes next, if the policy thinks that it comes soon; nothing if it did not."""
        if not policy.spins:
            return _NOTHING
        end = time.perf_counter() + SPIN_S
        ready = self.look()
        while ready is _NOTHING and time.perf_counter() < end:
            ready = self.look()
        if ready is _NOTHING:
            ready = self.look(SLEEP_MS)
        if ready is _NOTHING:
            policy.missed()
        else:
            policy.hit(time.perf_counter())
        return ready
