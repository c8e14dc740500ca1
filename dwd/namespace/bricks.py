"""What all nodes know of bricks: which there are, how they stand, which of them hold a segment, how far a scrub is."""

import errno
import math

from msgspec.structs import replace

from dwd.model.errors import NamespaceRefusal
from dwd.model.ids import NO_BRICK, BrickId
from dwd.model.topology import Standing
from dwd.namespace.commands import NoteScrub, PutBrick, Rehouse
from dwd.namespace.outcomes import Done
from dwd.namespace.records import BrickRecord, ScrubRecord
from dwd.namespace.state import State


def put_brick(state: State, op: PutBrick) -> Done:
    """Register a brick or change its record; a removed one is a tombstone, for its id is never used again."""
    if op.id <= NO_BRICK or not (math.isfinite(op.weight) and op.weight >= 0):
        raise NamespaceRefusal(errno.EINVAL)
    known = state.find_brick(op.id)
    if known is not None and known.standing is Standing.REMOVED:
        raise NamespaceRefusal(errno.EEXIST)
    since = known.since if known is not None and known.standing == op.standing else state.time
    state.put_brick(
        BrickRecord(state.index, op.id, op.uuid, op.node, op.weight, op.standing, op.domain, op.note, since)
    )
    return Done()


def rehouse(state: State, op: Rehouse) -> Done:
    """Name the bricks that hold a segment's shards now."""
    if len(op.new) != len(op.old) or has_twice(op.new):
        raise NamespaceRefusal(errno.EINVAL)
    segment = state.find_segment(op.segment)
    if segment is None:
        raise NamespaceRefusal(errno.ENOENT)
    if segment.bricks != op.old:
        raise NamespaceRefusal(errno.ESTALE)
    state.put_segment(replace(segment, bricks=op.new))
    return Done()


def has_twice(bricks: tuple[BrickId, ...]) -> bool:
    """Whether two shards of a segment would be lost with one brick."""
    placed = [brick for brick in bricks if brick != NO_BRICK]
    return len(set(placed)) < len(placed)


def note_scrub(state: State, op: NoteScrub) -> Done:
    """Keep how far the scrub has come."""
    state.put_scrub(ScrubRecord(state.index, op.started, op.cursor, op.finished, op.segments, op.bytes, op.damaged))
    return Done()
