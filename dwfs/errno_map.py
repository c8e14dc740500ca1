"""Turns Refusals and Faults into FUSEError. Nobody else raises FUSEError."""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import ParamSpec, TypeAlias, TypeVar

import pyfuse3

from dwd.model.errors import DwError, NamespaceRefusal, NoSpace
from dwfs.answers import DaemonFault

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

log = logging.getLogger(__name__)


def errno_of(error: DwError) -> int:
    """The errno that an application sees. What concerns the daemon and not the request is EIO."""
    if isinstance(error, NamespaceRefusal | DaemonFault):
        return error.number or errno.EIO
    return errno.ENOSPC if isinstance(error, NoSpace) else errno.EIO


_Handler: TypeAlias = Callable[_Parameters, Coroutine[None, None, _Result]]


def answering(handler: _Handler[_Parameters, _Result]) -> _Handler[_Parameters, _Result]:
    """Let a handler of pyfuse3 raise what the engine raises."""

    @functools.wraps(handler)
    async def answer(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return await handler(*args, **kwargs)
        except NamespaceRefusal as refusal:
            raise pyfuse3.FUSEError(refusal.number) from None
        except DwError as error:
            log.warning("%s: %s", handler.__name__, error)
            raise pyfuse3.FUSEError(errno_of(error)) from None

    return answer
