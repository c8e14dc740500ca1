"""A mount in the background: this program again, in a session of its own, writing to DATA/dwfs.log.

Returns when the kernel shows the mount and its root answers; else says what the mount process said.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final

import msgspec

from dwd.model.errors import BadConfig, DwError, Fault
from dwd.model.units import MIB
from dwfs.embedded import environment
from dwfs.foreground import Started
from dwfs.mounts import find_mount

LOG_NAME: Final = "dwfs.log"
_LOG_BYTES_MAX: Final = 8 * MIB  # a longer one is put aside at a start, over the one put aside before
_START_S_MAX: Final = 90.0
_END_S_MAX: Final = 5.0  # of a process that has said why it cannot mount
_TAIL_BYTES: Final = 2048
_PIPE_BYTES: Final = 65_536


class MountFailed(Fault):
    """The mount process could not mount; it says why."""

    code = "mount-failed"

    def __init__(self, message: str, code: str = "mount-failed", *, fault: bool = True) -> None:
        super().__init__(message)
        self.reported = code
        self.fault = fault


def mount_in_background(mountpoint: Path, data: Path, arguments: list[str]) -> int:
    """Start `dwfs mount --foreground` with these arguments; says its process id once it serves.

    Raises:
        DwError: it does not come to that.
    """
    log = data / LOG_NAME
    receiving, sending = os.pipe()
    with os.fdopen(receiving, "rb", buffering=0) as pipe:
        try:
            process, log_start = _spawn(log, sending, arguments)
        finally:
            os.close(sending)
        started = _wait(pipe, process, log, log_start)
    if started.error:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S_MAX)  # who tries again at once must not meet it
        raise MountFailed(started.error, started.code, fault=started.fault)
    _check_mounted(mountpoint, log)
    return started.pid


def _spawn(log: Path, sending: int, arguments: list[str]) -> tuple["subprocess.Popen[bytes]", int]:
    command = [sys.executable, "-m", "dwfs", "mount", "--foreground", "--ready-fd", str(sending), *arguments]
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(log) as output:
            start = output.seek(0, os.SEEK_END)
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",  # it must not keep a mount busy
                env=environment(),
                pass_fds=(sending,),
                start_new_session=True,
            )
    except OSError as error:
        raise BadConfig(f"{log}: cannot be made: {error.strerror}") from error
    return process, start


def _opened(log: Path) -> IO[bytes]:
    if log.exists() and log.stat().st_size > _LOG_BYTES_MAX:
        log.rename(log.with_name(log.name + ".1"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def _wait(pipe: IO[bytes], process: "subprocess.Popen[bytes]", log: Path, log_start: int) -> Started:
    deadline = time.monotonic() + _START_S_MAX
    ready, _, _ = select.select([pipe], [], [], _START_S_MAX)
    said = pipe.read(_PIPE_BYTES) if ready else b""
    if said:
        return msgspec.json.decode(said, type=Started)
    if not ready:
        raise MountFailed(f"the mount process {process.pid} is not ready after {_START_S_MAX:.0f} s; see {log}")
    code = process.wait(max(1.0, deadline - time.monotonic()))
    raise MountFailed(f"the mount process ended with {code}; {log} ends with:\n{_tail(log, log_start)}")


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


def _check_mounted(mountpoint: Path, log: Path) -> None:
    try:
        os.stat(mountpoint)
    except OSError as error:
        raise MountFailed(f"{mountpoint} is mounted but does not answer: {error.strerror}; see {log}") from error
    if find_mount(mountpoint) is None:
        raise MountFailed(f"{mountpoint} was unmounted as soon as it was mounted; see {log}")


def is_fault(error: DwError) -> bool:
    """Whether trying again may help, as far as the mount process knows."""
    return error.fault if isinstance(error, MountFailed) else isinstance(error, Fault)
