"""The time of day, behind its port."""

import time


class SystemClock:
    """The clock of this machine (ports.WallClock)."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return time.time_ns()
