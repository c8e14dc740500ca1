"""Take the kernel's next request without parking in trio, when it comes at once (DESIGN §5, first row).

pyfuse3's loop parks before every request, which costs more than most requests. The loop looks
`_wait_fuse_readable` up in its module each time, so that function can be replaced; a test sees that
this is still so, and without it the mount works as pyfuse3 made it.

Rules: nothing else may starve. The spin ends when the daemon's socket has something, and after
RUN_S_MAX without a checkpoint there is one. Whoever says "readable" has looked just before, for
several tasks wait and another may have taken the request: reading then would block the process.
"""

import os
import select
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from dwfs.cache.spinning import SpinPolicy

SPIN_S: Final = 100e-6  # longer than a program takes between two calls, shorter than anyone notices
RUN_S_MAX: Final = 0.005  # without a checkpoint
_FUNCTION: Final = "_wait_fuse_readable"
_DEVICE: Final = "/dev/fuse"


class RequestWait:
    """Waits for a request of the kernel."""

    def __init__(
        self,
        park: Callable[[], Awaitable[bool]],
        fuse_fd: int,
        policy: SpinPolicy,
        daemon: Callable[[], int | None],
    ) -> None:
        self._park = park
        self._daemon = daemon
        self._fuse_fd = fuse_fd
        self._policy = policy
        self._kernel = select.poll()
        self._kernel.register(fuse_fd, select.POLLIN)
        self._anything = select.poll()
        self._anything.register(fuse_fd, select.POLLIN)
        self._daemon_fd: int | None = None
        self._checkpoint_at = 0.0
        self.hits = 0
        self.parks = 0

    def _watch(self, daemon_fd: int | None) -> None:
        """The daemon's socket changed: what comes from it ends a spin."""
        if self._daemon_fd is not None:
            self._anything.unregister(self._daemon_fd)
        self._daemon_fd = daemon_fd
        if daemon_fd is not None:
            self._anything.register(daemon_fd, select.POLLIN)

    async def wait(self) -> bool:
        """True when a request can be read, False when the loop is to end. In place of pyfuse3's own."""
        if self._policy.spins:
            if time.perf_counter() > self._checkpoint_at:
                await trio.lowlevel.checkpoint()
                self._checkpoint_at = time.perf_counter() + RUN_S_MAX
            if self._spin():
                return True
        return await self._wait_parked()

    def _spin(self) -> bool:
        daemon_fd = self._daemon()
        if daemon_fd != self._daemon_fd:
            self._watch(daemon_fd)
        now = time.perf_counter()
        end = now + SPIN_S
        while now < end:
            ready = self._anything.poll(0)
            if ready:
                if len(ready) == 1 and ready[0][0] == self._fuse_fd:
                    self._policy.hit(now)
                    self.hits += 1
                    return True
                return False
            now = time.perf_counter()
        self._policy.missed()
        return False

    async def _wait_parked(self) -> bool:
        while True:
            if not await self._park():
                return False
            now = time.perf_counter()
            self._checkpoint_at = now + RUN_S_MAX
            self._policy.parked(now)
            self.parks += 1
            if self._kernel.poll(0):
                return True


def install(policy: SpinPolicy, daemon: Callable[[], int | None]) -> RequestWait | None:
    """Replace pyfuse3's wait; None when this pyfuse3 cannot be helped so. After pyfuse3.init().

    `daemon` gives the descriptor of the daemon's socket, if there is one now.
    """
    park = getattr(pyfuse3, _FUNCTION, None)
    fuse_fd = _fuse_descriptor()
    if park is None or fuse_fd is None:
        return None
    wait = RequestWait(park, fuse_fd, policy, daemon)
    setattr(pyfuse3, _FUNCTION, wait.wait)
    return wait


def _fuse_descriptor() -> int | None:
    """The one descriptor of this process that is a FUSE session."""
    found = [int(entry.name) for entry in Path("/proc/self/fd").iterdir() if _link(entry) == _DEVICE]
    return found[0] if len(found) == 1 else None


def _link(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except FileNotFoundError:
        return ""
