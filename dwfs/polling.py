"""Take the kernel's next request without parking in trio, when it comes at once (DESIGN §5, first row).

pyfuse3's loop parks before every request. The loop looks `_wait_fuse_readable` up in its module each
time, so that function can be replaced; a test sees that this is still so, and without it the mount
works as pyfuse3 made it.

Rules: nothing else may starve: the wait ends when the daemon's socket has something, and after
RUN_S_MAX without a checkpoint there is one. Whoever says "readable" has looked just before, for
several tasks wait and another may have taken the request: reading then would block the process.
"""

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from dwfs.cache.spinning import SpinPolicy
from dwfs.watch import Watch

RUN_S_MAX: Final = 0.0025  # without a checkpoint
_FUNCTION: Final = "_wait_fuse_readable"
_DEVICE: Final = "/dev/fuse"


class RequestWait:
    """Waits for a request of the kernel, in place of pyfuse3's own function."""

    def __init__(self, park: Callable[[], Awaitable[bool]], watch: Watch, policy: SpinPolicy) -> None:
        self._park = park
        self._watch = watch
        self._policy = policy
        self._checkpoint_at = 0.0

    async def wait(self) -> bool:
        """True when a request can be read, False when the loop is to end."""
        if time.perf_counter() > self._checkpoint_at:
            await trio.lowlevel.checkpoint()
            self._checkpoint_at = time.perf_counter() + RUN_S_MAX
        ready = self._watch.wait(self._policy)
        if ready.kernel and not ready.daemon:
            return True
        return await self._wait_parked()

    async def _wait_parked(self) -> bool:
        while await self._park():
            now = time.perf_counter()
            self._checkpoint_at = now + RUN_S_MAX
            self._policy.parked(now)
            if self._watch.look().kernel:
                return True
        return False


def install(watch: Watch) -> bool:
    """Replace pyfuse3's wait, after pyfuse3.init(); False when this pyfuse3 cannot be helped so."""
    park = getattr(pyfuse3, _FUNCTION, None)
    descriptor = _fuse_descriptor()
    if park is None or descriptor is None:
        return False
    watch.set_kernel(descriptor)
    setattr(pyfuse3, _FUNCTION, RequestWait(park, watch, SpinPolicy()).wait)
    return True


def _fuse_descriptor() -> int | None:
    """The one descriptor of this process that is a FUSE session."""
    found = [int(entry.name) for entry in Path("/proc/self/fd").iterdir() if _link(entry) == _DEVICE]
    return found[0] if len(found) == 1 else None


def _link(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except FileNotFoundError:
        return ""
