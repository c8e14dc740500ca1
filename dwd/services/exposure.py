"""What would become of files if bricks were lost, or could not be emptied: exact numbers, and the first paths.

Over a state that does not change meanwhile. Memory is bounded by the number of paths that are asked for.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, TypeAlias, TypeVar

import attrs

from dwd.model.ids import NO_BRICK, BrickId, InodeNumber, SegmentId, ShardIndex
from dwd.model.segment import Segment
from dwd.namespace.locating import exposures, paths
from dwd.namespace.state import State
from dwd.placement.holdings import shard_bytes
from dwd.placement.losses import Fate, margin, missing_shards
from dwd.placement.rendezvous import Candidate, Chooser
from dwd.services.snapshots import BEAT_EVERY, Beat
from dwd.wire.reports_bricks import ExposureRow
from dwd.wire.shown import shown_name

T = TypeVar("T")
EXAMPLES: Final = 10  # paths of each kind, unless more are asked for
_FATES: Final = tuple(Fate)  # the worst first
_SOUND: Final = len(_FATES)


BadShards: TypeAlias = Mapping[SegmentId, Collection[ShardIndex]]  # known to be damaged, on bricks that are here


@attrs.frozen
class Judged:
    """What becomes of one segment."""

    fate: Fate
    missing: int  # shards


Judge: TypeAlias = Callable[[Segment], Judged | None]  # None: nothing


@attrs.frozen
class Held:
    """What records name on a brick."""

    shards: int = 0
    bytes: int = 0


@attrs.frozen
class Exposed:
    """The answer."""

    rows: tuple[ExposureRow, ...]  # of those fates that there are
    files: int  # with bytes in segments, of the whole volume
    bytes: int
    rebuild_bytes: int  # of shards, to have all that is readable at full width again
    touched_bytes: int  # read and written for that

    def segments(self, fate: Fate) -> int:
        """How many have it."""
        return next((row.segments for row in self.rows if row.fate == fate.value), 0)


def judge_loss(gone: Collection[BrickId], bad: BadShards) -> Judge:
    """What becomes of a segment without these bricks, and these shards."""

    def judge(segment: Segment) -> Judged | None:
        missing = missing_shards(segment, gone, bad.get(segment.id, ()))
        if not missing:
            return None
        left = margin(segment, missing)
        return Judged(Fate.UNREADABLE if left < 0 else Fate.ZERO_MARGIN if left == 0 else Fate.DEGRADED, len(missing))

    return judge


def judge_loss_of(brick: BrickId, gone: Collection[BrickId], bad: BadShards) -> Judge:
    """The same, of the segments that have a shard on one brick."""
    judge = judge_loss({*gone, brick}, bad)
    return lambda segment: judge(segment) if brick in segment.bricks else None


def judge_drain(leaving: BrickId, candidates: Iterable[Candidate]) -> Judge:
    """Degraded is what the other bricks cannot hold at its protection."""
    chooser = Chooser(attrs.evolve(one, weight=0.0) if one.brick == leaving else one for one in candidates)

    def judge(segment: Segment) -> Judged | None:
        stays = leaving in segment.bricks and not chooser.holds(segment.protection)
        return Judged(Fate.DEGRADED, 1) if stays else None

    return judge


def expose(state: State, judge: Judge, limit: int, beat: Beat) -> Exposed:
    """Count it all. A file counts once, by the worst that becomes of it; its bytes count by what becomes of each."""
    files, sizes, segments = Counter[int](), Counter[int](), Counter[int]()
    first: dict[int, list[InodeNumber]] = {code: [] for code in range(_SOUND)}
    for exposure in _beaten(exposures(state, lambda segment: _code(judge(segment))), beat):
        worst = min(exposure.bytes)
        files[worst] += 1
        sizes.update(exposure.bytes)
        if worst < _SOUND and len(first[worst]) < limit:
            first[worst].append(exposure.number)
    rebuild = touched = 0
    for segment in _beaten(state.segments(b"S"), beat):
        judged = judge(segment)
        segments[_code(judged)] += 1
        if judged is not None and judged.fate is not Fate.UNREADABLE:
            rebuild += judged.missing * shard_bytes(segment)
            touched += (judged.missing + segment.protection.k) * shard_bytes(segment)
    names = paths(state, [number for numbers in first.values() for number in numbers])
    rows = tuple(
        ExposureRow(
            fate=fate.value,
            files=files[code],
            bytes=sizes[code],
            segments=segments[code],
            some=tuple(_shown(names.get(number), number) for number in first[code]),
        )
        for code, fate in enumerate(_FATES)
        if segments[code]
    )
    return Exposed(rows, files.total(), sizes.total(), rebuild, touched)


def held_on(state: State, beat: Beat) -> dict[BrickId, Held]:
    """What records name on each brick."""
    shards, sizes = Counter[BrickId](), Counter[BrickId]()
    for segment in _beaten(state.segments(b"S"), beat):
        size = shard_bytes(segment)
        for brick in segment.bricks:
            shards[brick] += 1
            sizes[brick] += size
    return {brick: Held(shards[brick], sizes[brick]) for brick in shards if brick != NO_BRICK}


def _beaten(items: Iterable[T], beat: Beat) -> Iterator[T]:
    for done, item in enumerate(items):
        if done % BEAT_EVERY == 0:
            beat(done)
        yield item


def _code(judged: Judged | None) -> int:
    return _SOUND if judged is None else _FATES.index(judged.fate)


def _shown(path: bytes | None, number: InodeNumber) -> str:
    return f"(deleted, and still open: inode {number})" if path is None else shown_name(path)
