"""Choose the bricks of a segment by weighted rendezvous, spread over failure domains.

Each brick draws a score from a hash of (segment, brick), scaled by its weight: shares follow the weights, and a
brick that comes or goes changes only the segments that it wins or loses.
"""

import math
import struct
from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs
import xxhash

from dwd.model.ids import BrickId, SegmentId

_KEY: Final = struct.Struct("<QQ")
_HASH_BITS: Final = 52  # so that every value plus a half is exact in a float, and below one


@attrs.frozen
class Candidate:
    """A brick that could take a shard."""

    brick: BrickId
    weight: float  # its share of the data, relative to the others; none at 0
    domain: str  # bricks of one failure domain are lost together


def choose_bricks(segment: SegmentId, candidates: Iterable[Candidate], width: int) -> list[BrickId]:
    """The bricks for shards 0, 1, ... of a segment: `width` of them, or all if there are fewer.

    No domain gets a second shard before every domain with a brick left has one, and so on: the most
    that one failure takes is as small as the topology allows.
    """
    drawn = sorted(
        (candidate for candidate in candidates if candidate.weight > 0),
        key=lambda candidate: (-_score(segment, candidate), candidate.brick),
    )
    rounds: Counter[str] = Counter()
    ranked = []
    for place, candidate in enumerate(drawn):
        ranked.append((rounds[candidate.domain], place, candidate.brick))
        rounds[candidate.domain] += 1
    return [brick for _, _, brick in sorted(ranked)[:width]]


def _score(segment: SegmentId, candidate: Candidate) -> float:
    drawn = xxhash.xxh3_64_intdigest(_KEY.pack(segment, candidate.brick)) >> (64 - _HASH_BITS)
    return -candidate.weight / math.log((drawn + 0.5) / 2**_HASH_BITS)
