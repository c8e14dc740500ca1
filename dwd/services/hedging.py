"""When to stop waiting for a brick and compute its bytes from the others, and how often that may be done.

Rules: the bound comes from what the other bricks need, so a slow brick does not excuse itself. Hedges are a share
of all reads that waited: on disks that are all slow they must not double the load.
"""

from collections import deque
from statistics import median_low
from typing import Final

import attrs

from dwd.model.ids import BrickId

_SAMPLES: Final = 64  # the latest reads of a brick that count
_RECKON_EVERY: Final = 8  # samples
_PERCENTILE: Final = 0.95
_FACTOR: Final = 3.0
_BOUND_S_MIN: Final = 0.02  # less than this is noise of threads and of the disk's queue
_BOUND_S_MAX: Final = 1.0
_BOUND_S_FIRST: Final = 0.1  # before anything is known
_HEDGE_SHARE: Final = 0.1  # of the reads that waited
_HEDGES_SAVED_MAX: Final = 32.0


@attrs.define(eq=False)
class _Samples:
    latest: deque[float] = attrs.Factory(lambda: deque(maxlen=_SAMPLES))
    count: int = 0
    percentile: float | None = None

    def add(self, seconds: float) -> bool:
        self.latest.append(seconds)
        self.count += 1
        if self.count % _RECKON_EVERY:
            return False
        self.percentile = sorted(self.latest)[int(len(self.latest) * _PERCENTILE)]
        return True


class Hedging:
    """Learns from every read that waited for a disk."""

    def __init__(self) -> None:
        self._samples: dict[BrickId, _Samples] = {}
        self._saved = _HEDGES_SAVED_MAX
        self.bound_s = _BOUND_S_FIRST

    def note(self, brick: BrickId, seconds: float) -> None:
        """A brick answered, or was given up, after this long."""
        self._saved = min(_HEDGES_SAVED_MAX, self._saved + _HEDGE_SHARE)
        if self._samples.setdefault(brick, _Samples()).add(seconds):
            known = [samples.percentile for samples in self._samples.values() if samples.percentile is not None]
            self.bound_s = max(_BOUND_S_MIN, min(_BOUND_S_MAX, _FACTOR * median_low(known)))

    def take(self) -> bool:
        """Whether one more hedge is allowed; it is counted then."""
        allowed = self._saved >= 1
        self._saved -= allowed
        return allowed
