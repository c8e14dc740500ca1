"""Whether looking again at once is worth it: a decision from what the last looks found.

A look that finds a request within the spin saves parking in trio and waking up; one that finds nothing
wastes the spin. Spinning stops after some misses in a row, and starts again when requests come
close together.
"""

from typing import Final

import attrs

MISSES_MAX: Final = 4  # in a row; a program that thinks between its calls is not worth a core
GAP_S_MAX: Final = 0.002  # requests further apart than this do not come in a burst
BURST_LEAST: Final = 4  # requests that close together


@attrs.define
class SpinPolicy:
    """What one kind of wait has learnt."""

    misses: int = 0
    burst: int = 0
    last: float = float("-inf")

    @property
    def spins(self) -> bool:
        """Whether to spin now."""
        return self.misses < MISSES_MAX

    def hit(self, now: float) -> None:
        """The spin found something."""
        self.misses = 0
        self.last = now

    def missed(self) -> None:
        """The spin found nothing."""
        self.misses += 1

    def parked(self, now: float) -> None:
        """Something came after parking, without or after a spin."""
        self.burst = self.burst + 1 if now - self.last < GAP_S_MAX else 0
        self.last = now
        if self.burst >= BURST_LEAST:
            self.misses = 0
            self.burst = 0
