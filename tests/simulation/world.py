"""Virtual time: what happens, happens in the order of its time, then of its planning. Nothing else orders anything.

Chance comes in streams, one for each concern, all from the one seed: a part that draws once more does not change what
the other parts draw.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import TypeVarTuple

Ts = TypeVarTuple("Ts")


class World:
    """The clock, the plan of events, and the trace."""

    def __init__(self, seed: int, *, tracing: bool) -> None:
        self.now = 0
        self.steps = 0
        self.happened: Counter[str] = Counter()  # of what is worth counting
        self.lines: list[str] | None = [] if tracing else None
        self._seed = seed
        self._planned = 0
        self._plan: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []

    def chance(self, name: str) -> random.Random:
        """A stream of chance."""
        return random.Random(f"{self._seed}/{name}")

    def after(self, delay: int, action: Callable[[*Ts], None], *arguments: *Ts) -> None:
        """Plan an event."""
        self._planned += 1
        heapq.heappush(self._plan, (self.now + delay, self._planned, action, arguments))

    def run_until(self, time: int) -> None:
        """Let everything happen that is planned up to then."""
        plan, pop = self._plan, heapq.heappop
        while plan and plan[0][0] <= time:
            self.now, _, action, arguments = pop(plan)
            self.steps += 1
            action(*arguments)
        self.now = time

    def say(self, line: str) -> None:
        """Add to the trace. Ask for `tracing` before making a costly line."""
        if self.lines is not None:
            self.lines.append(f"{self.now:>8} {line}")

    @property
    def tracing(self) -> bool:
        """Whether anybody reads the trace."""
        return self.lines is not None
