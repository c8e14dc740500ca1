"""What an operation on a brick would cost, counted over the whole volume, and the refusals that follow from it.

Pure over what it is given; each refusal says what is in the way and what to do instead.
"""

from collections.abc import Collection, Iterable

import attrs

from dwd.model.errors import BrickInUse, NotSafe, TooSmall
from dwd.model.ids import BrickId
from dwd.namespace.state import State
from dwd.placement.balance import Shortfall, drain_shortfall
from dwd.placement.losses import Fate
from dwd.placement.rendezvous import Candidate
from dwd.services.exposure import EXAMPLES, BadShards, Exposed, Held, expose, held_on, judge_drain, judge_loss_of
from dwd.services.snapshots import Beat


@attrs.frozen
class DrainCost:
    """What draining a brick moves, and what it cannot."""

    held: Held
    shortfall: Shortfall | None
    exposed: Exposed | None  # with a shortfall: what would stay
    is_last: bool  # no other takes anything


@attrs.frozen
class LossCost:
    """What giving up a brick's shards means, with all that is missing already."""

    held: Held
    exposed: Exposed

    @property
    def unreadable(self) -> int:
        """Segments."""
        return self.exposed.segments(Fate.UNREADABLE)


def drain_cost(state: State, brick: BrickId, candidates: Iterable[Candidate], beat: Beat) -> DrainCost:
    """What is to be moved, and whether there is a place for it."""
    known = list(candidates)
    is_last = not any(one.weight > 0 and one.brick != brick for one in known)
    shortfall = drain_shortfall(state.segments(b"S"), {brick}, known)
    exposed = None if shortfall is None else expose(state, judge_drain(brick, known), EXAMPLES, beat)
    return DrainCost(held_on(state, beat).get(brick, Held()), shortfall, exposed, is_last)


def loss_cost(state: State, brick: BrickId, gone: Collection[BrickId], bad: BadShards, beat: Beat) -> LossCost:
    """What would become of everything that a brick has a shard of."""
    held = held_on(state, beat).get(brick, Held())
    return LossCost(held, expose(state, judge_loss_of(brick, gone, bad), EXAMPLES, beat))


def check_drain(brick: BrickId, cost: DrainCost) -> None:
    """Raises NotSafe."""
    if cost.is_last:
        raise NotSafe(
            f"brick {brick} is the last that takes anything: nothing could be written any more, and its "
            f"{cost.held.shards} shards could go nowhere; add a brick first"
        )
    if cost.shortfall is not None:
        raise NotSafe(f"brick {brick} cannot be emptied: {cost.shortfall.reason}")


def check_replacement(brick: BrickId, cost: LossCost, *, works: bool, force: bool) -> None:
    """Raises BrickInUse, NotSafe."""
    lost = f"{cost.unreadable} segments cannot be read without brick {brick} ({worst(cost.exposed)})"
    if works and cost.unreadable:
        raise NotSafe(f"{lost}, and it works: drain it, and then replace or remove it; nothing is lost then")
    if works and cost.held.shards and not force:
        raise BrickInUse(
            f"brick {brick} works, and holds {cost.held.shards} shards: drain it first; "
            "--force computes them from other bricks instead"
        )
    if cost.unreadable and not force:
        raise NotSafe(f"{lost}: bring it back; --force gives them up")


def check_removal(brick: BrickId, cost: LossCost, *, is_in_service: bool, force: bool) -> None:
    """Raises BrickInUse."""
    if force:
        return
    if cost.held.shards:
        raise BrickInUse(
            f"brick {brick} holds {cost.held.shards} shards ({cost.held.bytes} bytes): drain it first; without it "
            f"{worst(cost.exposed)}"
        )
    if is_in_service:
        raise BrickInUse(f"brick {brick} is in service, and may be written at any moment: drain it first")


def check_room(brick: BrickId, held: Held, free: int) -> None:
    """Raises TooSmall."""
    if free < held.bytes:
        raise TooSmall(
            f"brick {brick} holds {held.bytes} bytes, and the folder has room for {free}: name a bigger disk"
        )


def worst(exposed: Exposed) -> str:
    """What it comes to, in words: the worst first."""
    texts = (f"{row.fate}: {row.files} files, {row.bytes} bytes" for row in exposed.rows)
    return ", ".join(texts) or "no file is affected"
