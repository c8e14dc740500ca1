"""What a round of healing counted, and what is done of it."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal

import attrs

from dwd.model.ids import SegmentId
from dwd.placement.holdings import shard_bytes
from dwd.placement.repair import Repair
from dwd.services.diagnosis import FALLBACK, Diagnosis
from dwd.services.mending import MendingStatus


@attrs.frozen
class HealingStatus:
    """The round under way, or the last one, and what was done since the start."""

    state: Literal["whole", "healing", "waiting"]  # waiting: for a brick, for room, or for one that is expected back
    surveyed: bool  # a round has counted; until then nothing is known
    segments: int
    waiting_segments: int  # degraded, or with shards on an ejected brick
    by_margin: Mapping[int, int]  # degraded segments, by the shards that may still be lost; -1: it cannot be read
    lost: int  # segments that cannot be read
    fallback: int  # segments at a weaker mode than is wanted
    away: int  # segments that wait for a brick to come back before anything is built anew
    no_brick: int  # shards for which there is no brick
    failed: int  # attempts of this round that a brick or its room did not allow
    bytes_left: int  # to be written
    bytes_per_s: float  # written, by this round
    shards_rebuilt: int
    bytes_rebuilt: int
    resynced: int  # shards that were found again on bricks that came back
    upgraded: int  # segments written anew at the mode that is wanted
    mending: MendingStatus
    unreadable: tuple[SegmentId, ...]  # some of them
    problem: str  # what failed last

    @property
    def zero_margin(self) -> int:
        """Segments that the next loss may take."""
        return self.by_margin.get(0, 0)

    @property
    def eta_s(self) -> float | None:
        """Until nothing is left, at this speed; None: not known."""
        return self.bytes_left / self.bytes_per_s if self.bytes_per_s else None


@attrs.define
class Tally:
    """Counted at the start of a round; what is left falls as it goes."""

    started: float = 0.0
    segments: int = 0
    degraded: int = 0
    by_margin: Counter[int] = attrs.Factory(Counter)
    by_urgency: Counter[int] = attrs.Factory(Counter)
    lost: int = 0
    at_fallback: int = 0
    leaving: int = 0
    away: int = 0
    no_brick: int = 0
    failed: int = 0
    problem: str = ""
    bytes_left: int = 0
    bytes_to_move: int = 0  # read and written
    bytes_done: int = 0
    done: int = 0  # repairs, and segments written anew
    degraded_since: float | None = None

    def add(self, diagnosis: Diagnosis) -> None:
        """Count one in."""
        segment = diagnosis.segment
        if diagnosis.is_degraded:
            self.degraded += 1
            self.by_margin[max(-1, diagnosis.margin)] += 1
        self.lost += diagnosis.is_lost
        self.leaving += bool(diagnosis.leaving) and not diagnosis.is_degraded
        self.at_fallback += segment.wanted is not None
        self.away += bool(diagnosis.away) and not diagnosis.gone and not diagnosis.suspects
        if diagnosis.needs_work:
            self.by_urgency[diagnosis.urgency] += 1
            if segment.wanted is not None:
                self.by_urgency[FALLBACK] += 1
            self.bytes_left += len(diagnosis.bad) * shard_bytes(segment)
            self.bytes_to_move += (segment.protection.k + len(diagnosis.bad)) * shard_bytes(segment)

    def note_done(self, repair: Repair) -> None:
        """A repair is done, or was void."""
        if repair.margin in self.by_margin:
            self.degraded = max(0, self.degraded - 1)
            self.by_margin[repair.margin] = max(0, self.by_margin[repair.margin] - 1)
        self.bytes_left = max(0, self.bytes_left - repair.bytes)
        moved = repair.bytes + repair.segment.protection.k * shard_bytes(repair.segment)
        self.bytes_to_move = max(0, self.bytes_to_move - moved)
        self.bytes_done += repair.bytes
        self.done += 1

    @property
    def is_unfinished(self) -> bool:
        """Whether another attempt is to follow soon."""
        return bool(self.no_brick or self.failed or self.degraded)

    def bytes_per_s(self, now: float) -> float:
        """Written by this round."""
        return self.bytes_done / max(now - self.started, 0.001)
