"""Choose the bricks of a segment by weighted rendezvous, spread over failure domains.

Each domain draws a score from a hash of (segment, its lowest brick), scaled by its share, and the winners' bricks
draw among themselves: shares follow the weights, and a brick that comes or goes changes only the segments that it
wins or loses.

Rules: no domain gets a second shard before every domain with a brick left has one, and so on, so that the most
that one failure takes is as small as the topology allows. The cost of a choice is linear in the domains, not in
the bricks.
"""

import heapq
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

import attrs
import xxhash

from dwd.model.errors import BadConfig, NoSpace
from dwd.model.ids import BrickId, SegmentId
from dwd.model.limits import SHARDS_MAX
from dwd.model.protection import Protection
from dwd.placement.shares import fair_shares

_KEY: Final = struct.Struct("<QQ")
_HASH_BITS: Final = 52  # so that every value plus a half is exact in a float, and below one
_HASH_SHIFT: Final = 64 - _HASH_BITS
_HASH_SPAN: Final = 2**_HASH_BITS
_AMONG_DOMAINS: Final = 0  # seeds: the draw within a domain must not know of the draw that the domain won
_WITHIN_DOMAIN: Final = 1
_SURE: Final = 1 - 1e-9  # a probability above this is rounding: it is one


@attrs.frozen
class Candidate:
    """A brick that could take a shard."""

    brick: BrickId
    weight: float  # its share of the data, relative to the others; none at 0
    domain: str  # bricks of one failure domain are lost together


_Runner: TypeAlias = tuple[BrickId, float]  # whose hash is drawn, and the rate that scales it
_Drawn: TypeAlias = tuple[float, int, BrickId]  # waiting time, the draw itself to break ties, who


@attrs.frozen
class _Race:
    """Who takes part in a choice of a given width; domains go by their lowest brick."""

    first: Sequence[BrickId]  # domains that take `full` shards, or all that they have bricks for
    runners: Sequence[_Runner]  # domains that may win one more
    places: int  # for them
    full: int


class Chooser:
    """The bricks that take new shards, ready for many choices. Make one when the set of bricks changes."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._domains = _by_domain(candidate for candidate in candidates if candidate.weight > 0)
        self._weights = {head: sum(brick.weight for brick in inside) for head, inside in self._domains.items()}
        self._races: dict[int, _Race] = {}  # by width: at most SHARDS_MAX
        self._heats: dict[tuple[BrickId, int], Sequence[_Runner]] = {}  # by domain and shards: the same

    @property
    def bricks(self) -> int:
        """How many may be chosen."""
        return sum(map(len, self._domains.values()))

    @property
    def domains(self) -> int:
        """How many they stand in."""
        return len(self._domains)

    def fitting(self, wanted: Protection) -> Protection:
        """The wanted mode, or the strongest that these bricks can hold with at most m shards in a domain.

        Raises:
            BadConfig: there is no brick.
        """
        if not self._domains:
            raise BadConfig(f"protection {wanted.name} needs {wanted.least_bricks} bricks, and there are none")
        m = min(wanted.m, self.bricks - 1)
        return Protection(min(wanted.k, self._room(self.limit(m)) - m), m)

    def place(self, segment: SegmentId, protection: Protection) -> list[BrickId]:
        """The bricks for all shards of a segment, so that no domain's loss takes more than m of them.

        A single domain is lost with everything in it, so there the rule has nothing to hold.

        Raises:
            NoSpace: the bricks cannot hold that; fitting() tells what they can.
        """
        if not self.holds(protection):
            raise NoSpace(_too_narrow(protection.width, self.limit(protection.m), self.bricks, self.domains))
        return self.choose(segment, protection.width)

    def limit(self, m: int) -> int:
        """Shards of a segment that a domain may hold: its loss must leave k. Any number where nothing would help."""
        return SHARDS_MAX if m == 0 or self.domains == 1 else m

    def holds(self, protection: Protection) -> bool:
        """Whether a segment fits at full width within the limit."""
        return self._room(self.limit(protection.m)) >= protection.width

    def spread(self, width: int) -> int:
        """The most shards in one domain, when a segment is spread as evenly as the bricks allow."""
        most = 1
        while self._room(most) < min(width, self.bricks):
            most += 1
        return most

    def choose(self, segment: SegmentId, width: int) -> list[BrickId]:
        """The bricks for shards 0, 1, ... of a segment: `width` of them, or all if there are fewer."""
        width = min(width, self.bricks)
        if width <= 0:
            return []
        race = self._race(width)
        winners = [head for _, _, head in _finish(segment, race.runners, race.places, _AMONG_DOMAINS)]
        if race.full == 0 and len(self._domains) == self.bricks:
            return winners
        return self._within(segment, race, winners)

    def _within(self, segment: SegmentId, race: _Race, winners: Sequence[BrickId]) -> list[BrickId]:
        """Choose in each domain; the first brick of each comes before the second of any."""
        more = set(winners)
        ranked: list[tuple[int, int, BrickId]] = []
        equal = [(head, 1.0) for head in race.first if head not in more]
        rest = [head for _, _, head in _finish(segment, equal, len(equal), _AMONG_DOMAINS)]
        for place, head in enumerate([*winners, *rest]):
            count = min(race.full, len(self._domains[head])) + (head in more)
            heat = _finish(segment, self._heat(head, count), count, _WITHIN_DOMAIN)
            ranked += [(turn, place, brick) for turn, (_, _, brick) in enumerate(heat)]
        return [brick for _, _, brick in sorted(ranked)]

    def _race(self, width: int) -> _Race:
        race = self._races.get(width)
        if race is None:
            race = self._races[width] = self._set_up(width)
        return race

    def _set_up(self, width: int) -> _Race:
        sizes = {head: len(inside) for head, inside in self._domains.items()}
        full = self.spread(width) - 1
        places = width - sum(min(size, full) for size in sizes.values())
        heads, wanted = list(sizes), [self._weights[head] for head in sizes]
        least = [float(min(size, full)) for size in sizes.values()]
        most = [float(min(size, full + 1)) for size in sizes.values()]
        shares = fair_shares(wanted, width, least, most)
        chances = {
            head: share - low
            for head, share, low, high in zip(heads, shares, least, most, strict=True)
            if high > low and share > low
        }
        # A share at its least is no chance at all; but there must be runners enough for the places.
        spare = [head for head, high, low in zip(heads, most, least, strict=True) if high > low and head not in chances]
        chances |= dict.fromkeys(spare if len(chances) < places else [], 1 - _SURE)
        return _Race(heads if full else [], _rates(chances, places), places, full)

    def _heat(self, head: BrickId, count: int) -> Sequence[_Runner]:
        heat = self._heats.get((head, count))
        if heat is None:
            inside = self._domains[head]
            shares = fair_shares([c.weight for c in inside], count, [0.0] * len(inside), [1.0] * len(inside))
            chances = {candidate.brick: share for candidate, share in zip(inside, shares, strict=True)}
            heat = self._heats[head, count] = _rates(chances, count)
        return heat

    def _room(self, limit: int) -> int:
        """The widest segment with at most so many shards in a domain."""
        return sum(min(limit, len(inside)) for inside in self._domains.values())


def _too_narrow(width: int, limit: int, bricks: int, domains: int) -> str:
    rule = "" if limit >= width else f", at most {limit} in a failure domain"
    return f"{width} shards{rule} do not fit on {bricks} bricks in {domains} domains; add bricks or take another mode"


def _by_domain(candidates: Iterable[Candidate]) -> Mapping[BrickId, Sequence[Candidate]]:
    """Domains by their lowest brick, so that a domain of one brick draws as the brick itself."""
    found: dict[str, list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda candidate: candidate.brick):
        found.setdefault(candidate.domain, []).append(candidate)
    return {inside[0].brick: inside for inside in found.values()}


def _rates(chances: Mapping[BrickId, float], places: int) -> Sequence[_Runner]:
    """Rates of a race in which each is among the first `places` about as often as its chance says.

    The winner of an exponential race is drawn as the rates say; later places go to slow runners too often. With
    this curve, which is a straight line for one place and that of independent draws for many, chances come out
    right within 2 % (tests measure it); plain weights were 10 % off.
    """
    curve = (places - 1) / places if places else 0.0
    return [
        (runner, math.inf if chance > _SURE else -math.log1p(-curve * chance) / curve if curve else chance)
        for runner, chance in chances.items()
    ]


def _finish(segment: SegmentId, runners: Sequence[_Runner], places: int, seed: int) -> list[_Drawn]:
    """The first of a race, in order. Equal rates leave the order to the hash alone."""
    digest, pack, log = xxhash.xxh3_64_intdigest, _KEY.pack, math.log
    drawn = []
    for runner, rate in runners:
        draw = digest(pack(segment, runner), seed) >> _HASH_SHIFT
        drawn.append((-log((draw + 0.5) / _HASH_SPAN) / rate, -draw, runner))
    return heapq.nsmallest(places, drawn) if places < len(drawn) // 4 else sorted(drawn)[:places]
