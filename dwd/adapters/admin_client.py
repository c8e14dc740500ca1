"""Calling a daemon's admin socket, blocking: what the command line does.

Rules: nothing waits for ever. A daemon that shows no sign of life for ANSWER_S_MAX is unreachable.
"""

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from dwd.adapters.unix_socket import connect, peer_process
from dwd.codec.frame import Frame, FrameReader, encode_header
from dwd.model.errors import BadRequest, NotPermitted, Unreachable
from dwd.wire.admin import (
    ANSWER_BYTES_MAX,
    SOCKET_NAME,
    Failed,
    Progress,
    Result,
    decode_answer,
    decode_report,
    encode_call,
)
from dwd.wire.reports import Report
from dwd.wire.verb import Request, Verb

ANSWER_S_MAX: Final = 30  # six heartbeats of a long call

ReportT = TypeVar("ReportT", bound=Report)


class NotRunning(Unreachable):
    """No daemon listens on the data folder's socket."""

    code = "not-running"


class AdminConnection:
    """A connection to a daemon. Made by open_admin()."""

    def __init__(self, data: Path, connected: socket.socket) -> None:
        self._data = data
        self._socket = connected
        self._reader = FrameReader(body_max=ANSWER_BYTES_MAX, payload_max=0)
        self._received: list[Frame] = []
        self._calls = 0

    @property
    def pid(self) -> int:
        """The daemon's process; 0 if it is in another pid namespace."""
        return peer_process(self._socket)

    def call(
        self, verb: Verb[Request, ReportT], request: Request, show: Callable[[Progress], None]
    ) -> ReportT | Failed:
        """Do a call and wait for its end.

        Raises:
            Unreachable: the connection broke, the daemon is silent, or its answer cannot be read.
        """
        self._calls += 1
        body = encode_call(verb, request)
        try:
            self._socket.sendall(encode_header(self._calls, len(body), 0) + body)
            while True:
                answer = decode_answer(self._receive().body)
                if isinstance(answer, Failed):
                    return answer
                if isinstance(answer, Result):
                    return decode_report(verb, answer.report)
                show(answer)
        except BlockingIOError:
            raise Unreachable(f"{self._data}: the daemon has not answered for {ANSWER_S_MAX} s") from None
        except OSError as error:
            raise Unreachable(f"{self._data}: the connection to the daemon broke: {error.strerror}") from error
        except BadRequest as error:
            raise Unreachable(f"{self._data}: the daemon's answer cannot be read: {error}") from error

    def _receive(self) -> Frame:
        while not self._received:
            count = self._socket.recv_into(self._reader.space())
            if count == 0:
                raise Unreachable(f"{self._data}: the daemon ended the connection before it answered")
            self._received.extend(self._reader.received(count))
        return self._received.pop(0)


@contextmanager
def open_admin(data: Path) -> Iterator[AdminConnection]:
    """Connect to the daemon of a data folder.

    Raises:
        NotRunning: there is none.
        NotPermitted: this user may not connect.
        Unreachable: it does not accept.
    """
    try:
        connected = connect(data, SOCKET_NAME, ANSWER_S_MAX)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NotRunning(f"{data}: no daemon is running") from None
    except PermissionError:
        raise NotPermitted(f"{data / SOCKET_NAME}: this user may not connect") from None
    except BlockingIOError:
        raise Unreachable(f"{data}: the daemon has accepted no connection for {ANSWER_S_MAX} s") from None
    except OSError as error:
        raise Unreachable(f"{data / SOCKET_NAME}: cannot connect: {error.strerror}") from error
    with connected:
        yield AdminConnection(data, connected)


class Process:
    """A process that is not our child, to be waited for. Its pid cannot come to mean another one meanwhile."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd: int | None = os.pidfd_open(pid) if pid else None
        except ProcessLookupError:
            self._fd = None

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait for its end; False if it lives on. A process that cannot be seen counts as ended."""
        if self._fd is None:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        ended = bool(poll.poll(timeout_s * 1000))
        os.close(self._fd)
        self._fd = None
        return ended
