"""Shard files open for reading, each with its header verified: opened once, kept within a bound.

Rules: the lock guards the table only, never I/O. A descriptor is closed when the last reader gives it back, so
no thread reads from a number that was given to another file. A shard that was dropped while a thread was
opening it is not kept.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from dwd.codec.shard_header import ShardHeader
from dwd.model.checks import invariant
from dwd.model.ids import SegmentId, ShardIndex

OPEN_SHARDS_MAX: Final = 128  # of one brick; sheds the least recently used; six bricks stay under 1024 files

ShardKey: TypeAlias = tuple[SegmentId, ShardIndex]


@attrs.define(eq=False)
class OpenShard:
    """A descriptor and what its header said."""

    fd: int
    header: ShardHeader
    readers: int = 1  # the one that opened it
    kept: bool = False  # in the table
    waits: int = 0  # reads that had to wait for the disk

    @property
    def unused(self) -> bool:
        """Whether nobody can come to it any more. It becomes true once, for the one who must close it."""
        return not self.readers and not self.kept


@attrs.frozen
class OpenShardsStatistics:
    """Counts since the brick was opened."""

    open: int
    hits: int
    misses: int


class OpenShards:
    """The table of one brick."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[ShardKey, OpenShard] = OrderedDict()
        self._drops = 0
        self._hits = 0
        self._misses = 0

    def borrow(self, key: ShardKey, opened: Callable[[], OpenShard | None]) -> OpenShard | None:
        """The shard's file, from the table or newly opened; None if `opened` says so. To be given back."""
        with self._lock:
            shard = self._kept.get(key)
            if shard is not None:
                self._kept.move_to_end(key)
                shard.readers += 1
                self._hits += 1
                return shard
            self._misses += 1
            drops = self._drops
        shard = opened()
        if shard is not None:
            with self._lock:
                shed = self._keep(key, shard) if self._drops == drops and key not in self._kept else None
            _close(shed)
        return shard

    def give_back(self, shard: OpenShard) -> None:
        """Say that a borrower reads no more."""
        with self._lock:
            shard.readers -= 1
            invariant(shard.readers >= 0, "B1", "a shard's file was given back twice")
            unused = shard if shard.unused else None
        _close(unused)

    def drop(self, key: ShardKey) -> None:
        """Forget a shard: the next reader opens what is there then."""
        with self._lock:
            self._drops += 1
            shed = self._shed(key) if key in self._kept else None
        _close(shed)

    def close(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._drops += 1
            shed = [self._shed(key) for key in list(self._kept)]
        for shard in shed:
            _close(shard)

    def statistics(self) -> OpenShardsStatistics:
        """Return an immutable snapshot."""
        with self._lock:
            return OpenShardsStatistics(open=len(self._kept), hits=self._hits, misses=self._misses)

    def _keep(self, key: ShardKey, shard: OpenShard) -> OpenShard | None:
        shard.kept = True
        self._kept[key] = shard
        return self._shed(next(iter(self._kept))) if len(self._kept) > OPEN_SHARDS_MAX else None

    def _shed(self, key: ShardKey) -> OpenShard | None:
        """Take a shard out of the table; returned if it is now to be closed, outside the lock."""
        shard = self._kept.pop(key)
        shard.kept = False
        return shard if shard.unused else None


def _close(shard: OpenShard | None) -> None:
    if shard is not None:
        os.close(shard.fd)
