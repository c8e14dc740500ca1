"""How fast background work may go: one budget of bytes and operations that healing, scrub, moving and converting share.

Rules: it yields: while files are read and written it takes a small share of their speed, and the whole of its
ceiling otherwise; a deadline that could not be kept like that goes before. What is spent is spent before the
work is done, so a burst is one segment at most for each who works.
"""

from collections.abc import Callable
from typing import Final

import attrs
import trio

from dwd.model.units import MIB

_GLANCE_S: Final = 0.05  # how often it is looked whether the foreground does anything
_SAMPLE_S: Final = 0.25  # how often its speed is measured, while it does
_STALE_S: Final = 2.0  # after such a pause of ours nothing is known of it:
_LOOK_S: Final = 0.06  # so it is watched for a moment before anything is begun: for longer than a glance takes
_BUSY_BYTES_PER_S: Final = 4 * MIB  # of the foreground: below this nobody is held up
_BUSY_SHARE: Final = 0.125  # of the foreground's speed, for us while it is busy
_BUSY_LEAST_BYTES_PER_S: Final = 8 * MIB  # and no less, or a busy volume would never heal
_BUSY_MOST_BYTES_PER_S: Final = 40 * MIB  # nor more: bytes from memory are quick to read, and ours cost a processor
_BUSY_S: Final = 1.0  # without a busy glance before the foreground counts as idle: it pauses between files


@attrs.frozen
class Budget:
    """What background work may take at most; None: what the machine has."""

    bytes_per_s: int | None = None
    operations_per_s: int | None = None  # reads and writes of a shard
    deadline_s: float | None = None  # what is degraded is to be whole so long after it was found, whatever else goes on


@attrs.frozen
class PacingStatus:
    """What was spent, and what the rate is now (None: no bound)."""

    bytes_spent: int
    operations_spent: int
    bytes_per_s: float | None
    foreground_bytes_per_s: float


class Pacer:
    """The shared budget. `foreground` counts the bytes that files were read and written by, ever rising."""

    def __init__(self, budget: Budget, foreground: Callable[[], int]) -> None:
        self.budget = budget
        self.least_bytes_per_s = 0.0  # what a deadline demands
        self._foreground = foreground
        self._excused = 0
        self._glanced_at = float("-inf")
        self._glanced = 0
        self._sampled_at = float("-inf")
        self._sampled = 0
        self._speed = 0.0
        self._idle_from = float("-inf")
        self._free_at = float("-inf")
        self._bytes = self._operations = 0

    @property
    def is_unbounded(self) -> bool:
        """Whether nothing holds background work up now."""
        return self.budget.operations_per_s is None and self._rate(trio.current_time()) is None

    def excuse(self, length: int) -> None:
        """So many bytes that the foreground's counter rose by were our own."""
        self._excused += length

    async def spend(self, length: int, operations: int) -> None:
        """Wait until so many bytes may be read and written, in so many operations."""
        if trio.current_time() - self._glanced_at > _STALE_S:
            await self._look()
        now = trio.current_time()
        self._glance(now)
        rate = self._rate(now)
        cost = 0.0 if rate is None else length / rate
        if self.budget.operations_per_s is not None:
            cost = max(cost, operations / self.budget.operations_per_s)
        start = max(now, self._free_at)
        self._free_at = start + cost
        self._bytes += length
        self._operations += operations
        await trio.sleep_until(start)

    async def _look(self) -> None:
        """Begin with what the foreground does now, not with what it did some time ago."""
        self._idle_from = self._sampled_at = float("-inf")
        self._glanced_at, self._glanced = trio.current_time(), self._counted()
        self._sampled = self._glanced
        await trio.sleep(_LOOK_S)

    def _counted(self) -> int:
        return self._foreground() - self._excused

    def _glance(self, now: float) -> None:
        """A stream is to have its speed at once, so a short look tells that it began; its speed takes a longer one."""
        seconds, counted = now - self._glanced_at, self._counted()
        if seconds >= _GLANCE_S:
            speed = max(0, counted - self._glanced) / seconds
            self._glanced_at, self._glanced = now, counted
            if speed >= _BUSY_BYTES_PER_S:
                if now >= self._idle_from:
                    self._speed, self._sampled_at, self._sampled = speed, now, counted
                self._idle_from = now + _BUSY_S
        if now - self._sampled_at >= _SAMPLE_S:
            self._speed = max(0, counted - self._sampled) / (now - self._sampled_at)
            self._sampled_at, self._sampled = now, counted

    def _rate(self, now: float) -> float | None:
        """Bytes each second; None: no bound."""
        ceiling = self.budget.bytes_per_s
        if now >= self._idle_from:
            return ceiling
        share = min(_BUSY_MOST_BYTES_PER_S, max(_BUSY_LEAST_BYTES_PER_S, _BUSY_SHARE * self._speed))
        yielding = max(share, self.least_bytes_per_s)
        return yielding if ceiling is None else min(ceiling, yielding)

    def status(self) -> PacingStatus:
        """An immutable snapshot."""
        return PacingStatus(self._bytes, self._operations, self._rate(trio.current_time()), self._speed)
