"""What reading and writing segments has met with since the start."""

import attrs


@attrs.define
class SegmentStatistics:
    """Counts."""

    segments_written: int = 0
    bytes_written: int = 0
    shards_failed: int = 0  # could not be written; the segment has the others
    fallbacks: int = 0  # segments written at less than what was wanted
    reads: int = 0
    bytes_read: int = 0
    reconstructed: int = 0  # ranges computed from other shards
    damaged: int = 0  # shards that failed a check when read
    missing: int = 0  # shards that were not on their brick
    hedges: int = 0  # ranges computed because their shard kept us waiting
    hedges_won: int = 0  # before it came
    shards_rebuilt: int = 0
    bytes_rebuilt: int = 0
