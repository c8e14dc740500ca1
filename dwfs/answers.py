"""What an answer of the daemon means here: the reply that was expected, or the failure that it reports."""

import errno
from typing import TypeVar

from dwd.model.errors import DwError, Fault, NamespaceRefusal, NoSpace
from dwd.wire.messages import Failed, Reply

_Expected = TypeVar("_Expected", bound=Reply)


class DaemonFault(Fault):
    """The daemon reports a Fault of its own, with the errno that it chose."""

    def __init__(self, code: str, number: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.number = number


def expect(reply: Reply, kind: type[_Expected]) -> _Expected:
    """The reply, as what it must be.

    Raises:
        DaemonFault: it is another.
    """
    if not isinstance(reply, kind):
        raise DaemonFault("bad-reply", errno.EIO, f"{type(reply).__name__} where {kind.__name__} belongs")
    return reply


def failure_of(failed: Failed) -> DwError:
    """What the daemon reports, as an exception."""
    if failed.code == NoSpace.code:
        return NoSpace(failed.message)
    if failed.code == NamespaceRefusal.code:
        return NamespaceRefusal(failed.number, failed.message)
    return DaemonFault(failed.code, failed.number, failed.message)
