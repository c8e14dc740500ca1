"""One type for each kind of identifier, so that one is never passed for another."""

from typing import Final, NewType

VolumeId = NewType("VolumeId", bytes)  # 16 random bytes, chosen when a volume is made
NodeId = NewType("NodeId", int)  # 1-based; a Raft member
BrickId = NewType("BrickId", int)  # 1-based within a volume, never used again
SegmentId = NewType("SegmentId", int)  # epoch in the high bits: see segment_id()
ShardIndex = NewType("ShardIndex", int)  # 0-based position among a segment's k+m shards
InodeNumber = NewType("InodeNumber", int)  # bucket in the high bits: see inode_number()
SessionId = NewType("SessionId", bytes)  # 16 random bytes, chosen by a mount
RequestNumber = NewType("RequestNumber", int)  # rises by one within a session
LogIndex = NewType("LogIndex", int)  # 1-based; 0 is "before the first entry"
Term = NewType("Term", int)  # 0 is "before the first election"
Epoch = NewType("Epoch", int)  # counts the starts of a volume's daemon

ROOT: Final = InodeNumber(1)
NO_BRICK: Final = BrickId(0)  # in a segment's list: this shard was never placed

_INODE_COUNTER_BITS: Final = 47
_SEGMENT_COUNTER_BITS: Final = 40


def inode_number(bucket: int, counter: int) -> InodeNumber:
    """Join a bucket (16 bits) and a counter (47 bits): a bucket moves between shards whole (D3)."""
    return InodeNumber(bucket << _INODE_COUNTER_BITS | counter)


def segment_id(epoch: Epoch, counter: int) -> SegmentId:
    """Join the daemon's start (24 bits) and a counter (40 bits).

    A segment of an earlier epoch that no record names can never be committed any more, so its
    shards may be collected without asking anyone.
    """
    return SegmentId(epoch << _SEGMENT_COUNTER_BITS | counter)


def segment_epoch(segment: SegmentId) -> Epoch:
    """The start of the daemon that chose this id."""
    return Epoch(segment >> _SEGMENT_COUNTER_BITS)
