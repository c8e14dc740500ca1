"""Whether a brick can still be trusted: a state machine over the outcomes of its reads and writes.

Rules: pure; memory is bounded. A brick is suspected with evidence (errors, or far slower than its peers), is trusted
again only after it did well for a while, and is ejected when it stays suspect: that is for good, so that a disk that
comes and goes does not make the volume move its data to and fro. What says nothing about the brick is no failure:
a single missing file, a full disk.
"""

import errno
import statistics
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import attrs

from dwd.model.ids import BrickId

BRICK_ERRNOS: Final = frozenset(
    {
        errno.EIO,
        errno.EROFS,  # what the kernel makes of a file system that it found broken
        errno.ETIMEDOUT,
        errno.ENODEV,
        errno.ENXIO,
        errno.ENOTCONN,
        errno.ESTALE,
        errno.EUCLEAN,  # "structure needs cleaning": XFS and ext4
    }
)

ERRORS_SUSPECTED: Final = 3  # one may be a bad sector, and two a bad cable's moment
ERRORS_WINDOW_S: Final = 60.0  # in which they count: a disk has a bad minute long before it has a bad day
CALM_S: Final = 120.0  # without an error, to be trusted again: twice the window, so that it does not flap
SUCCESSES_CALM: Final = 30  # in that time: silence proves nothing, and a probe each second gives twice as many
SUSPECT_S_MAX: Final = 600.0  # suspected so long without a break: ejected. A reboot takes less
RELAPSES_MAX: Final = 3  # suspected so often within an hour: ejected. A bad disk looks sound while nobody uses it
RELAPSES_WINDOW_S: Final = 3600.0
FRESH_S: Final = 60.0  # evidence older than this ejects nobody: a brick that nobody asks is not to blame

LATENCY_SHARE: Final = 1 / 32  # of the newest in the mean: it follows some 100 operations
LATENCY_SAMPLES_LEAST: Final = 32  # before it says anything
SLOW_FACTOR: Final = 8.0  # times its peers' median: below that are differences between sound disks
CALM_FACTOR: Final = 4.0  # times, to be trusted again: half, so that it does not flap
SLOW_S_LEAST: Final = 0.05  # faster than this is never slow, however fast the peers are
SLOW_HOLD_S: Final = 10.0  # so long without a break: a burst of writes is over by then
PEERS_LEAST: Final = 2  # with one peer nobody can tell which of the two is odd


class Verdict(StrEnum):
    """What a brick is taken for."""

    HEALTHY = "healthy"
    SUSPECTED = "suspected"
    EJECTED = "ejected"


@attrs.frozen
class Health:
    """A verdict, and why."""

    verdict: Verdict
    since: float
    evidence: str = ""


class BrickHealth:
    """One brick. Times are seconds of one steady clock."""

    def __init__(self, now: float) -> None:
        self._health = Health(Verdict.HEALTHY, now)
        self._errors: deque[float] = deque(maxlen=ERRORS_SUSPECTED)
        self._suspected: deque[float] = deque(maxlen=RELAPSES_MAX)
        self._last_error = ""
        self._successes = 0  # since the last error
        self._samples = 0
        self._mean = 0.0
        self._slow_since: float | None = None
        self._evidence_at = now
        self._calm_since = now

    @property
    def health(self) -> Health:
        """As it was judged last."""
        return self._health

    @property
    def latency(self) -> float | None:
        """Seconds of an operation, the recent ones counting most; None: too few to tell."""
        return self._mean if self._samples >= LATENCY_SAMPLES_LEAST else None

    def observe(self, now: float, seconds: float, failed: str | None) -> None:
        """Take note of an operation's outcome. `failed` says what spoke against the brick."""
        if failed is not None:
            self._errors.append(now)
            self._last_error = failed
            self._successes = 0
            self._calm_since = self._evidence_at = now
            return
        self._successes += 1
        self._samples += 1
        share = max(LATENCY_SHARE, 1 / self._samples)
        self._mean += share * (seconds - self._mean)

    def judge(self, now: float, peers: float | None) -> Health:
        """Come to a verdict, given the median latency of the brick's peers (None: nothing to compare with)."""
        self._watch_latency(now, peers)
        if self._health.verdict is Verdict.HEALTHY:
            evidence = self._errors_evidence(now) or self._latency_evidence(now, peers)
            if evidence:
                self._suspect(now, evidence)
        elif self._health.verdict is Verdict.SUSPECTED:
            self._judge_suspect(now)
        return self._health

    def _suspect(self, now: float, evidence: str) -> None:
        self._calm_since = self._evidence_at = now
        self._suspected.append(now)
        self._health = Health(Verdict.SUSPECTED, now, evidence)
        if len(self._suspected) == RELAPSES_MAX and now - self._suspected[0] <= RELAPSES_WINDOW_S:
            times = f"suspected {RELAPSES_MAX} times within {now - self._suspected[0]:.0f} s, now for: {evidence}"
            self._health = Health(Verdict.EJECTED, now, times)

    def _judge_suspect(self, now: float) -> None:
        since = self._health.since
        if now - self._calm_since >= CALM_S and self._successes >= SUCCESSES_CALM:
            self._errors.clear()
            self._health = Health(Verdict.HEALTHY, now)
        elif now - since >= SUSPECT_S_MAX and now - self._evidence_at <= FRESH_S:
            kept = f"suspected for {now - since:.0f} s, and no better: {self._health.evidence}"
            self._health = Health(Verdict.EJECTED, now, kept)

    def _watch_latency(self, now: float, peers: float | None) -> None:
        """See whether the brick is slow now: hard to become, and then hard to lose."""
        factor = SLOW_FACTOR if self._slow_since is None else CALM_FACTOR
        latency = self.latency
        if latency is None or peers is None or latency <= max(SLOW_S_LEAST, factor * peers):
            self._slow_since = None
            return
        self._slow_since = now if self._slow_since is None else self._slow_since
        self._calm_since = self._evidence_at = now

    def _errors_evidence(self, now: float) -> str:
        if len(self._errors) < ERRORS_SUSPECTED or now - self._errors[0] > ERRORS_WINDOW_S:
            return ""
        return f"{ERRORS_SUSPECTED} errors within {now - self._errors[0]:.0f} s, the last: {self._last_error}"

    def _latency_evidence(self, now: float, peers: float | None) -> str:
        if self._slow_since is None or peers is None or now - self._slow_since < SLOW_HOLD_S:
            return ""
        return (
            f"{self._mean * 1000:.0f} ms an operation for {now - self._slow_since:.0f} s, "
            f"and its peers need {peers * 1000:.1f} ms"
        )


def peer_medians(latencies: Mapping[BrickId, float | None]) -> dict[BrickId, float | None]:
    """For each brick the median latency of the others; None where too few of them have one."""
    known = {brick: latency for brick, latency in latencies.items() if latency is not None}
    medians: dict[BrickId, float | None] = {}
    for brick in latencies:
        others = [latency for other, latency in known.items() if other != brick]
        medians[brick] = statistics.median(others) if len(others) >= PEERS_LEAST else None
    return medians
