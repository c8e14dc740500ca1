"""Answers: where the bytes of a path are, and what the loss of bricks would mean.

Over one state of the volume, in a thread. Totals count everything; only what is listed is cut.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Final, Literal

import attrs

from dwd.model.errors import BadRequest, NamespaceRefusal, UnknownBrick
from dwd.model.ids import NO_BRICK, BrickId, InodeNumber, SegmentId
from dwd.model.inode import Inode
from dwd.model.segment import Segment
from dwd.namespace.locating import Portion, portions, resolve
from dwd.namespace.queries import list_directory
from dwd.namespace.state import State
from dwd.placement.holdings import shard_bytes
from dwd.placement.losses import margin, missing_shards
from dwd.services.brick_register import BrickRegister
from dwd.services.exposure import BadShards, Exposed, expose, judge_loss
from dwd.services.healing import Healer
from dwd.services.pace import Rate
from dwd.services.snapshots import BEAT_EVERY, Beat, ShowProgress, Snapshots
from dwd.wire.reports_protection import BrickShare, SegmentPlace, WhatIfReport, WhereReport
from dwd.wire.shown import read_name

_PAGE: Final = 256  # entries of a directory, or extents of a file
_NODE: Final = "node:"


@attrs.define
class _Gathered:
    """What was counted of a path."""

    gone: Collection[BrickId]
    bad: BadShards
    limit: int
    files: int = 0
    size: int = 0
    inline: int = 0
    used: int = 0
    unreadable: int = 0
    zero_margin: int = 0
    worst: int | None = None
    segments: set[SegmentId] = attrs.Factory(set)  # a hundred bytes for each 4 MiB
    listed: list[SegmentPlace] = attrs.Factory(list)
    shards: Counter[BrickId] = attrs.Factory(Counter)
    used_on: Counter[BrickId] = attrs.Factory(Counter)

    def add(self, portion: Portion) -> None:
        """Count in bytes of one file in one segment."""
        self.size += portion.bytes
        segment = portion.segment
        if segment is None:
            self.inline += portion.bytes
            return
        missing = missing_shards(segment, self.gone, self.bad.get(segment.id, ()))
        left = margin(segment, missing)
        self.worst = left if self.worst is None else min(self.worst, left)
        self.unreadable += portion.bytes if left < 0 else 0
        self.zero_margin += portion.bytes if left == 0 else 0
        self._count_bricks(segment, portion.bytes)
        if len(self.listed) < self.limit:
            self.listed.append(
                SegmentPlace(
                    segment=f"{segment.id:016x}",
                    bytes=portion.bytes,
                    extents=portion.extents,
                    protection=segment.protection.name,
                    wanted=segment.meant.name,
                    margin=left,
                    bricks=tuple(segment.bricks),
                    missing=tuple(sorted(missing)),
                )
            )

    def _count_bricks(self, segment: Segment, length: int) -> None:
        part = shard_bytes(segment) * length // max(1, segment.live)
        is_new = segment.id not in self.segments
        self.segments.add(segment.id)
        for brick in segment.bricks:
            if brick != NO_BRICK:
                self.used += part
                self.used_on[brick] += part
                self.shards[brick] += is_new


def gather(state: State, path: bytes, gathered: _Gathered, beat: Beat) -> Inode:
    """Count what a path leads to, and everything below it. Raises NamespaceRefusal."""
    top = resolve(state, path)
    for done, inode in enumerate(_below(state, top)):
        if done % BEAT_EVERY == 0:
            beat(done)
        gathered.files += inode.is_regular
        start: int | None = 0 if inode.allocated else None
        while start is not None:
            page, start = portions(state, inode.number, start, _PAGE)
            for portion in page:
                gathered.add(portion)
            beat(done)
    return top


def _below(state: State, top: Inode) -> Iterator[Inode]:
    """An inode, and all below it if it is a directory; one with several names once."""
    yield top
    named: set[InodeNumber] = set()
    stack = [(top.number, 0)] if top.is_directory else []
    while stack:
        number, cookie = stack.pop()
        listed, complete = list_directory(state, number, cookie, _PAGE)
        if not complete:
            stack.append((number, listed[-1].cookie))
        for entry in listed:
            inode = entry.inode
            if inode.is_directory:
                stack.append((inode.number, 0))
            elif inode.links > 1:
                if inode.number in named:
                    continue
                named.add(inode.number)
            yield inode


@attrs.define(eq=False)
class Questions:
    """Both of them."""

    register: BrickRegister
    healer: Healer
    snapshots: Snapshots
    rate: Callable[[], Rate]

    async def where(self, path: str, limit: int, show: ShowProgress) -> WhereReport:
        """Where the bytes of a file are, or of everything in a directory. Raises NamespaceRefusal."""
        name = volume_path(path)
        found = _Gathered(self.register.absent(), self.healer.bad_shards(), limit)
        try:
            top = await self.snapshots.ask(lambda state, beat: gather(state, name, found, beat), show)
        except NamespaceRefusal as refusal:
            raise NamespaceRefusal(refusal.number, path) from refusal
        return WhereReport(
            path=path,
            kind=_kind(top),
            files=found.files,
            size=found.size,
            inline=found.inline,
            used=found.used,
            segments_total=len(found.segments),
            margin=found.worst,
            unreadable=found.unreadable,
            zero_margin=found.zero_margin,
            bricks=tuple(self._share(brick, found) for brick in sorted(found.shards)),
            segments=tuple(found.listed),
        )

    def _share(self, brick: BrickId, found: _Gathered) -> BrickShare:
        register = self.register
        return BrickShare(
            id=brick,
            path=register.shown_path(brick),
            state=register.state(brick),
            standing=register.standing(brick),
            shards=found.shards[brick],
            used=found.used_on[brick],
        )

    async def what_if(self, names: Collection[str], limit: int, show: ShowProgress) -> WhatIfReport:
        """What would be without these bricks, and those that are missing already. Raises UnknownBrick."""
        lost = self._named(names)
        missing_now = {record.id for record in self.register.present()} & self.register.absent()
        judge = judge_loss(lost | self.register.absent(), self.healer.bad_shards())
        found: Exposed = await self.snapshots.ask(lambda state, beat: expose(state, judge, limit, beat), show)
        rate = self.rate()
        return WhatIfReport(
            lost=tuple(sorted(lost)),
            missing_now=tuple(sorted(missing_now)),
            files=found.files,
            bytes=found.bytes,
            exposed=found.rows,
            rebuild_bytes=found.rebuild_bytes,
            rate=round(rate.bytes_per_s),
            rate_is=rate.source,
            seconds=rate.seconds(found.touched_bytes),
        )

    def _named(self, names: Collection[str]) -> set[BrickId]:
        """The bricks that were said: by id, or all of a node."""
        lost: set[BrickId] = set()
        for name in names:
            on_node = {record.id for record in self.register.present() if name == f"{_NODE}{record.node}"}
            if name.isascii() and name.isdecimal():
                lost.add(self.register.record(BrickId(int(name))).id)
            elif on_node:
                lost |= on_node
            else:
                raise UnknownBrick(f"{name!r} is no brick and no node: give ids of bricks, or {_NODE}N")
        if not lost:
            raise BadRequest("name at least one brick")
        return lost


def volume_path(path: str) -> bytes:
    """A path from the volume's root, as names are. Raises BadRequest."""
    if not path.startswith("/"):
        raise BadRequest(f"path {path}: give it from the volume's root, beginning with /")
    return read_name(path)


def _kind(inode: Inode) -> Literal["file", "directory", "other"]:
    if inode.is_directory:
        return "directory"
    return "file" if inode.is_regular else "other"
