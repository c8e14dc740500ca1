"""What a verb is: a request, a report, who may ask, and what the audit log calls it.

Rules: a request's fields are the options of the command line: each has a description, and argument() instead of
option() makes it positional. Text that is a file name is as dwd.wire.shown writes it.
"""

import enum
from typing import Generic, TypeAlias, TypeVar

import attrs
import msgspec

from dwd.wire.reports import Report


class Permission(enum.IntEnum):
    """What a caller must be allowed; each includes those before it."""

    OBSERVE = 1  # see state
    OPERATE = 2  # cost the node work, change nothing that lasts
    OWN = 3  # everything


class AuditClass(enum.StrEnum):
    """What a call does, for those who read the audit log."""

    NONE = "none"
    READ = "read"
    CHANGE = "change"
    DESTRUCTIVE = "destructive"  # the command line asks before it does it


class PathKind(enum.StrEnum):
    """Whose path a text is, and so how the command line completes what was typed."""

    VOLUME = "volume"  # from the root of the volume; typed, it may lie on a mount of it
    FOLDER = "folder"  # of the machine that the daemon runs on


def option(description: str) -> msgspec.Meta:
    """A field that is given as --name."""
    return msgspec.Meta(description=description)


def argument(description: str, path: PathKind | None = None) -> msgspec.Meta:
    """A field that is given by its position."""
    return msgspec.Meta(description=description, extra={"positional": True, "path": path})


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request is."""

    @property
    def endangers(self) -> bool:
        """Whether, as it is asked, it may cost bytes or what protects them: then a person is asked first."""
        return False


RequestT_co = TypeVar("RequestT_co", bound=Request, covariant=True)
ReportT_co = TypeVar("ReportT_co", bound=Report, covariant=True)


@attrs.frozen
class Verb(Generic[RequestT_co, ReportT_co]):
    """One thing that can be asked."""

    name: str  # words of the command line: "volume show"
    summary: str
    request: type[RequestT_co]
    report: type[ReportT_co]
    permission: Permission
    audit: AuditClass
    streams: bool = False  # takes long: shows progress, and what it waits for is left when its caller hangs up

    @property
    def words(self) -> tuple[str, ...]:
        """The name, word by word."""
        return tuple(self.name.split())


AnyVerb: TypeAlias = Verb[Request, Report]
