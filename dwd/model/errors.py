"""The two kinds of failure that are not bugs.

A Refusal is the caller's: the request cannot be granted, nothing changed, and asking again will give
the same answer. A Fault is the world's: a disk, a peer or a file failed us, and the text says which
and what to do. The third kind, a bug, is InvariantViolated (checks.py).

Codes are public: scripts compare them, so they never change meaning. Only the edges (dwfs.errno_map,
dwd.cli, dwd.gateways) turn them into an errno, an exit code or an HTTP status.
"""

import errno
from typing import ClassVar


class DwError(Exception):
    """What both kinds share: a stable code, and a message that names cause and remedy."""

    code: ClassVar[str] = "error"
    errno: ClassVar[int] = errno.EIO


class Refusal(DwError):
    """The caller's request is declined; nothing changed."""

    code = "refused"
    errno = errno.EINVAL


class Fault(DwError):
    """The world failed; trying again may help."""

    code = "fault"


class NamespaceRefusal(Refusal):
    """A file operation that POSIX declines. The instance carries the errno that POSIX names."""

    code = "namespace-refused"

    def __init__(self, number: int, detail: str = "") -> None:
        super().__init__(f"{errno.errorcode.get(number, number)} {detail}".rstrip())
        self.number = number


class BadRequest(Refusal):
    """A message that cannot be decoded, or whose fields contradict each other."""

    code = "bad-request"


class BadConfig(Refusal):
    """A setting or command-line value that cannot be used."""

    code = "bad-config"


class NotPermitted(Refusal):
    """The peer's user may not do this."""

    code = "not-permitted"
    errno = errno.EPERM


class VolumeMismatch(Refusal):
    """A folder or brick belongs to another volume, node or place."""

    code = "volume-mismatch"


class FormatTooNew(Refusal):
    """Data written by a newer version, which this one must not touch."""

    code = "format-too-new"


class DataBusy(Refusal):
    """Another daemon owns this data folder."""

    code = "data-busy"
    errno = errno.EBUSY


class NoSpace(Refusal):
    """The volume has no room left for this."""

    code = "no-space"
    errno = errno.ENOSPC


class UnknownBrick(Refusal):
    """There is no brick with this id, or not any more."""

    code = "unknown-brick"


class BrickInUse(Refusal):
    """A brick holds something or works, and so cannot be removed or replaced without force."""

    code = "brick-in-use"


class NotSafe(Refusal):
    """It would leave bytes below their protection, or lose them; the text says how many. It can be forced."""

    code = "not-safe"


class TooSmall(Refusal):
    """A folder has less room than what it is to hold."""

    code = "too-small"


class NothingToDo(Refusal):
    """What was asked for concerns something that is not under way."""

    code = "nothing-to-do"


class NotLeader(Refusal):
    """This node does not lead its group: only a leader may propose."""

    code = "not-leader"
    errno = errno.EAGAIN


class Overloaded(Refusal):
    """More is in progress than the bound allows; nothing changed, ask again later."""

    code = "overloaded"
    errno = errno.EAGAIN


class BrickFault(Fault):
    """A brick is missing, read-only or fails its I/O."""

    code = "brick-fault"


class ShardMissing(BrickFault):
    """A brick does not have a shard that it should have; the brick itself may be in order, or gone."""

    code = "shard-missing"


class CorruptShard(Fault):
    """A shard's bytes do not match its checksums, or it is not the shard it should be."""

    code = "corrupt-shard"


class SegmentLost(Fault):
    """Fewer than k shards of a segment can be read."""

    code = "segment-lost"


class CorruptWal(Fault):
    """A record of the log that may have been acknowledged is damaged. Never skipped, never cut off."""

    code = "corrupt-wal"


class WalFault(Fault):
    """The disk failed a write or a sync of the log. What is in the file is no longer known: the process ends."""

    code = "wal-fault"


class CorruptStore(Fault):
    """The state store, or a record in it, cannot be read back."""

    code = "corrupt-store"


class StoreFailed(Fault):
    """The state store could not be read or written. Ends the process: what is on the disk is the truth."""

    code = "store-failed"


class Unreachable(Fault):
    """The daemon did not answer within the bound."""

    code = "unreachable"
    errno = errno.EIO


class CorruptIdentity(Fault):
    """The file that says which volume a data folder holds cannot be read."""

    code = "corrupt-identity"
