"""Parity from data, and lost shards from any k others: Reed-Solomon over GF(256), bytewise.

Rules: the matrix (ISA-L's Cauchy, version 1 of the format) never changes, for shards on disk depend on it;
with k = 1 parity shards are plain copies. All functions may be called from several threads.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Final

from dwd.ec import isal
from dwd.ec.isal import Buffer, Tables
from dwd.model.checks import invariant
from dwd.model.errors import SegmentLost
from dwd.model.ids import ShardIndex
from dwd.model.protection import Protection

_PROTECTIONS_CACHED_MAX: Final = 64  # sheds the least recently used; at most 16 KiB each
_DECODERS_CACHED_MAX: Final = 512  # sheds the least recently used; one is a pattern of loss


class Codec:
    """The code of one protection."""

    def __init__(self, protection: Protection) -> None:
        self.protection = protection

    def encode(self, data: bytearray | memoryview, shard_length: int) -> list[memoryview]:
        """The m parity shards of the k data shards that lie side by side in `data`, which is not copied.

        With k = 1 they are views of `data` itself.
        """
        k, m = self.protection.k, self.protection.m
        view = memoryview(data)
        invariant(len(view) >= k * shard_length, "E1", (len(view), k, shard_length))
        shards = [view[i * shard_length : (i + 1) * shard_length] for i in range(k)]
        if k == 1 or m == 0:
            return shards * m if k == 1 else []
        parity = memoryview(bytearray(m * shard_length))
        targets = [parity[i * shard_length : (i + 1) * shard_length] for i in range(m)]
        isal.encode_data(_encoder(self.protection), shards, targets, shard_length)
        return targets

    def reconstruct(
        self, available: Mapping[ShardIndex, Buffer], wanted: Sequence[ShardIndex], length: int
    ) -> dict[ShardIndex, Buffer]:
        """The wanted shards, or any one range of them, from the same range of at least k shards.

        What was computed is not copied, for a copy takes as long as the computing: nobody may write to it.

        Raises:
            SegmentLost: fewer than k shards are available.
        """
        lost = {index: bytearray(length) for index in wanted if index not in available}
        self.reconstruct_into(lost, available, length)
        return {index: available[index] for index in wanted if index in available} | lost

    def reconstruct_into(
        self, targets: Mapping[ShardIndex, Buffer], available: Mapping[ShardIndex, Buffer], length: int
    ) -> None:
        """The same, into writable buffers: memory that was used before costs a good deal less than new one.

        Raises:
            SegmentLost: fewer than k shards are available.
        """
        k = self.protection.k
        for index in (*available, *targets):
            invariant(0 <= index < self.protection.width, "E2", index)
        for index, buffer in (*available.items(), *targets.items()):
            invariant(len(buffer) == length, "E3", (index, len(buffer), length))
        if len(available) < k:
            raise SegmentLost(f"{k} shards are needed and {len(available)} are available")
        chosen = tuple(sorted(available)[:k])
        wanted = tuple(sorted(targets))
        if k == 1:
            for target in targets.values():
                memoryview(target)[:] = available[chosen[0]]
        elif wanted:
            tables = _decoder(self.protection, chosen, wanted)
            isal.encode_data(tables, [available[i] for i in chosen], [targets[i] for i in wanted], length)


@functools.lru_cache(_PROTECTIONS_CACHED_MAX)
def _rows(protection: Protection) -> list[bytes]:
    """Row i makes shard i out of the data shards."""
    k = protection.k
    matrix = isal.cauchy_matrix(protection.width, k)
    return [matrix[i * k : (i + 1) * k] for i in range(protection.width)]


@functools.lru_cache(_PROTECTIONS_CACHED_MAX)
def _encoder(protection: Protection) -> Tables:
    return isal.init_tables(b"".join(_rows(protection)[protection.k :]), protection.k)


@functools.lru_cache(_DECODERS_CACHED_MAX)
def _decoder(protection: Protection, chosen: tuple[ShardIndex, ...], lost: tuple[ShardIndex, ...]) -> Tables:
    """Tables that make the lost shards out of the k chosen ones: their rows times the inverse of the chosen rows."""
    k, rows = protection.k, _rows(protection)
    inverse = isal.invert_matrix(b"".join(rows[index] for index in chosen), k)
    # A product of matrices is an encoding too: the rows of the inverse take the place of the data shards.
    product = [bytearray(k) for _ in lost]
    lost_rows = isal.init_tables(b"".join(rows[index] for index in lost), k)
    isal.encode_data(lost_rows, [inverse[i * k : (i + 1) * k] for i in range(k)], product, k)
    return isal.init_tables(b"".join(product), k)
