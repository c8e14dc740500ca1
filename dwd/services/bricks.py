"""The set of bricks of this node: which are open, what each may be used for, and the evidence.

Rules: a brick is in `online()` only while its folder is there and has the superblock that it was opened with;
descriptors that are still open do not count. Every brick is looked at each second, and at once after an error.
One that is gone is looked for each second, and comes back only with the same uuid.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

import attrs
import trio

from dwd.model.errors import BrickFault, DwError, NoSpace, Refusal, ShardMissing
from dwd.model.ids import BrickId
from dwd.model.topology import Level, Standing, parse_domain
from dwd.namespace.records import BrickRecord
from dwd.placement.capacity import reserve_bytes
from dwd.placement.health import BRICK_ERRNOS, BrickHealth, Health, Verdict, peer_medians
from dwd.placement.rendezvous import Candidate
from dwd.ports import Brick, BrickSpace

_T = TypeVar("_T")

_PERIOD_S: Final = 1.0
_PERIOD_S_MIN: Final = 0.05  # between two rounds, however many errors there are
_ANSWER_S_MAX: Final = 5.0  # to a probe: a brick that takes longer counts as gone
_PROBES_MAX: Final = 8  # threads; one that hangs keeps its thread until the disk answers


class Condition(StrEnum):
    """What is known of a brick at this moment."""

    ONLINE = "online"
    SUSPECTED = "suspected"  # errors, or slower than its peers: read last, and nothing new is put there
    MISSING = "missing"  # no such folder, or no superblock in it
    FAULTED = "faulted"  # it does not answer
    FOREIGN = "foreign"  # another brick lies in its place


@attrs.frozen
class BrickCondition:
    """A condition, why, and since when (trio's clock)."""

    condition: Condition
    evidence: str
    since: float


@attrs.define(eq=False)
class _Place:
    """What is kept of one brick."""

    record: BrickRecord
    reopen: Callable[[], Brick]
    state: BrickCondition
    brick: Brick | None = None  # not None: it is in online()
    health: BrickHealth = attrs.Factory(lambda: BrickHealth(trio.current_time()))
    verdict: Health | None = None
    room: BrickSpace | None = None
    appearances: int = 0  # of all bricks, when it last came
    late_writes: int = 0
    look: trio.Event | None = None  # being looked at: set when that ends
    looked: float = float("-inf")  # when the last look that ended had begun
    hangs: bool = False  # a thread that was sent to look has not come back


class Bricks:
    """All bricks that records name on this node, here or not. A record without a uuid takes the first that comes."""

    def __init__(self, level: Level = Level.BRICK) -> None:
        """`level`: of the failure domains that the shards of a segment are spread over."""
        self._level = level
        self._places: dict[BrickId, _Place] = {}
        self._online: dict[BrickId, Brick] = {}
        self._kept_back: dict[int, int] = {}
        self._view: Mapping[BrickId, Brick] = MappingProxyType(self._online)
        self._threads = trio.CapacityLimiter(_PROBES_MAX)
        self._doubt = trio.Event()
        self._appearances = 0
        self.changed = trio.Event()  # replaced whenever the set, a record or a condition changes

    def attach(self, brick: Brick, record: BrickRecord, reopen: Callable[[], Brick]) -> None:
        """Take an open brick into the set; `reopen` looks for it when it is lost.

        `reopen` blocks, and raises BrickFault (it is not there) or a Refusal (another lies there).
        """
        self._places[record.id] = place = _Place(record, reopen, _state(Condition.MISSING, "not looked at yet"))
        self._appear(place, brick)

    def expect(self, record: BrickRecord, reopen: Callable[[], Brick], evidence: str) -> None:
        """Know of a brick that is not here now; it is looked for."""
        self._places[record.id] = _Place(record, reopen, _state(Condition.MISSING, evidence))
        self._announce()

    def update(self, record: BrickRecord) -> None:
        """The brick's record has changed."""
        place = self._places[record.id]
        place.record = record
        self._list(place)
        self._announce()

    def detach(self, number: BrickId) -> None:
        """Forget a brick and close its files."""
        place = self._places.pop(number)
        self._online.pop(number, None)
        if place.brick is not None:
            place.brick.close()
        self._announce()

    def close(self) -> None:
        """Close the files of all of them."""
        for brick in self._online.values():
            brick.close()

    # -- What a brick may be used for ----------------------------------------------------------------------------------

    def find(self, number: BrickId) -> Brick | None:
        """A brick that can be read, also a suspected one."""
        return self._online.get(number)

    def online(self) -> Mapping[BrickId, Brick]:
        """All that find() finds: always the same mapping."""
        return self._view

    def records(self) -> Mapping[BrickId, BrickRecord]:
        """All that are known, here or not."""
        return {number: place.record for number, place in self._places.items()}

    def doubtful(self, number: BrickId) -> bool:
        """Whether a brick that can be read had better be read last."""
        place = self._places.get(number)
        return (
            place is None or place.state.condition is not Condition.ONLINE or place.record.standing is Standing.EJECTED
        )

    def writable(self, *, within_reserve: bool = False) -> list[Candidate]:
        """The bricks that take new shards; those that have only their reserve left are asked for by healing."""
        return [
            Candidate(number, place.record.weight, self.domain(number))
            for number, place in self._places.items()
            if place.state.condition is Condition.ONLINE
            and place.record.standing.takes_new
            and not place.late_writes
            and _has_room(place.room, within_reserve=within_reserve)
        ]

    def domain(self, number: BrickId) -> str:
        """The failure domain of a brick that is known."""
        return parse_domain(self._places[number].record.domain).at(self._level, number)

    def condition(self, number: BrickId) -> BrickCondition:
        """What is known of a brick."""
        place = self._places.get(number)
        return _state(Condition.MISSING, "no record names it on this node") if place is None else place.state

    def verdict(self, number: BrickId) -> Health | None:
        """What a brick's errors and latency say; None: not judged since it appeared."""
        return self._places[number].verdict

    def appearances(self, number: BrickId) -> int:
        """Rises each time a brick comes, comes back, or is replaced: it is then to be compared with the records."""
        return self._places[number].appearances

    # -- Room ----------------------------------------------------------------------------------------------------------

    def keep_back(self, device: int, size: int) -> None:
        """So many bytes of a device are not for shards, beyond its reserve."""
        self._kept_back[device] = size

    def measure(self) -> Mapping[BrickId, BrickSpace]:
        """The room of all that are here, measured now."""
        for place in self._places.values():
            if place.brick is not None:
                place.room = self._room_of(place.brick)
        return {n: p.room for n, p in self._places.items() if p.brick is not None and p.room is not None}

    def _room_of(self, brick: Brick) -> BrickSpace | None:
        try:
            space = brick.space()
        except BrickFault:
            return None
        return attrs.evolve(space, free=max(0, space.free - self._kept_back.get(space.device, 0)))

    # -- What befalls them ---------------------------------------------------------------------------------------------

    def report(self, number: BrickId, seconds: float | None, failure: DwError | None) -> None:
        """Take note of the outcome of an operation on a brick; its time, if it can be compared with others'."""
        place = self._places.get(number)
        if place is None:
            return
        against = _against(failure)
        if against is not None or seconds is not None:
            place.health.observe(trio.current_time(), seconds or 0.0, against)
        if isinstance(failure, NoSpace):
            self._fill(place)
        elif isinstance(failure, BrickFault):
            self._doubt.set()

    def _fill(self, full: _Place) -> None:
        """Nothing more is put on this device until it has been measured again."""
        for place in self._places.values():
            if place.room is not None and full.room is not None and place.room.device == full.room.device:
                place.room = attrs.evolve(place.room, free=0)

    def write_is_late(self, number: BrickId) -> None:
        """A write was given up while its thread is still in it: nothing new goes there until write_ended()."""
        place = self._places.get(number)
        if place is not None:
            place.late_writes += 1
            self._announce()

    def write_ended(self, number: BrickId) -> None:
        """The thread of a late write has come back."""
        place = self._places.get(number)
        if place is not None:
            place.late_writes -= 1
            self._announce()

    def is_late(self, number: BrickId) -> bool:
        """Whether a write that was given up may still touch the brick."""
        place = self._places.get(number)
        return place is not None and place.late_writes > 0

    # -- Looking -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at every brick, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                self._doubt = trio.Event()
                for place in list(self._places.values()):
                    if place.look is None:
                        nursery.start_soon(self._look, place)
                self._judge()
                await trio.sleep(_PERIOD_S_MIN)
                with trio.move_on_after(_PERIOD_S):
                    await self._doubt.wait()

    async def inspect(self, number: BrickId) -> bool:
        """Look at a brick now; whether it is here."""
        place = self._places.get(number)
        asked = trio.current_time()
        while place is not None and place.looked < asked:
            if place.look is not None:
                await place.look.wait()
            elif place.hangs:
                break
            else:
                await self._look(place)
        return place is not None and place.brick is not None

    async def _look(self, place: _Place) -> None:
        if place.hangs:
            return
        began = trio.current_time()
        place.look = ended = trio.Event()
        try:
            await self._look_bounded(place)
        finally:
            place.looked = began
            place.look = None
            ended.set()

    async def _look_bounded(self, place: _Place) -> None:
        brick = place.brick
        with trio.move_on_after(_ANSWER_S_MAX) as scope:
            try:
                if brick is not None:
                    began = trio.current_time()
                    await self._in_thread(place, lambda: self._probe(place, brick))
                    place.health.observe(trio.current_time(), trio.current_time() - began, None)
                else:
                    self._appear(place, await self._in_thread(place, place.reopen))
            except BrickFault as fault:
                self._vanish(place, Condition.MISSING, str(fault))
            except Refusal as refusal:
                self._vanish(place, Condition.FOREIGN, str(refusal))
        if scope.cancelled_caught:
            self._vanish(place, Condition.FAULTED, f"it has not answered for {_ANSWER_S_MAX:.0f} s")

    async def _in_thread(self, place: _Place, function: Callable[[], _T]) -> _T:
        place.hangs = True

        def perform() -> _T:
            try:
                return function()
            finally:
                place.hangs = False

        return await trio.to_thread.run_sync(perform, limiter=self._threads, abandon_on_cancel=True)

    def _probe(self, place: _Place, brick: Brick) -> None:
        try:
            brick.probe()
        except DwError:
            brick.close()
            raise
        place.room = self._room_of(brick)

    def _judge(self) -> None:
        peers = peer_medians({n: p.health.latency for n, p in self._places.items() if p.brick is not None})
        now = trio.current_time()
        for number, place in self._places.items():
            if place.brick is None:
                continue
            place.verdict = place.health.judge(now, peers[number])
            sound = place.verdict.verdict is Verdict.HEALTHY
            self._become(place, Condition.ONLINE if sound else Condition.SUSPECTED, place.verdict.evidence)

    def _appear(self, place: _Place, brick: Brick) -> None:
        if place.record.uuid not in {b"", brick.uuid}:
            brick.close()
            self._vanish(place, Condition.FOREIGN, f"the brick there has uuid {brick.uuid.hex()}: another")
            return
        place.brick = brick
        place.health = BrickHealth(trio.current_time())
        place.verdict = None
        place.room = self._room_of(brick)
        self._appearances += 1
        place.appearances = self._appearances
        self._become(place, Condition.ONLINE, "")

    def _vanish(self, place: _Place, condition: Condition, evidence: str) -> None:
        place.brick = None
        place.verdict = None
        self._become(place, condition, evidence)

    def _become(self, place: _Place, condition: Condition, evidence: str) -> None:
        if place.state.condition is condition:
            place.state = attrs.evolve(place.state, evidence=evidence)
            return
        place.state = _state(condition, evidence)
        self._list(place)
        self._announce()

    def _list(self, place: _Place) -> None:
        """Bring online() up to date."""
        number = place.record.id
        if self._places.get(number) is not place:
            return  # it was detached while a thread looked at it
        if place.brick is not None and place.record.standing.readable:
            self._online[number] = place.brick
        else:
            self._online.pop(number, None)

    def _announce(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


def _state(condition: Condition, evidence: str) -> BrickCondition:
    return BrickCondition(condition, evidence, trio.current_time())


def _has_room(room: BrickSpace | None, *, within_reserve: bool) -> bool:
    return room is None or room.free > (0 if within_reserve else reserve_bytes(room.total))


def _against(failure: DwError | None) -> str | None:
    """What a failure says against the brick itself."""
    if not isinstance(failure, BrickFault) or isinstance(failure, ShardMissing):
        return None
    cause = failure.__cause__
    return str(failure) if not isinstance(cause, OSError) or cause.errno in BRICK_ERRNOS else None
