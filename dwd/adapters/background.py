"""A daemon in the background: this program again, in a session of its own, writing to DATA/dwd.log.

Rules: what the daemon says when it cannot start comes back to whoever started it. The log is kept
bounded: one that has grown too long is put aside at a start, over the one put aside before.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

import msgspec

import dwd
from dwd.adapters.durable_files import make_directories
from dwd.model.errors import BadConfig
from dwd.model.units import MIB
from dwd.wire.admin import Failed
from dwd.wire.remedies import REMEDIES

LOG_NAME: Final = "dwd.log"
LOG_BYTES_MAX: Final = 8 * MIB
_TAIL_BYTES: Final = 4096
_FILE_MODE: Final = 0o600


class _Said(msgspec.Struct, frozen=True):
    code: str
    message: str
    remedy: str
    fault: bool


class _SaidError(msgspec.Struct, frozen=True):
    error: _Said


class BackgroundDaemon:
    """A daemon that was just started; made by start_background()."""

    def __init__(self, log: Path, log_start: int, process: subprocess.Popen[bytes]) -> None:
        self.log = log
        self._log_start = log_start
        self._process = process

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def failure(self) -> Failed | None:
        """Why it has ended; None while it lives."""
        code = self._process.poll()
        if code is None:
            return None
        last = self._last_line()
        try:
            said = msgspec.json.decode(last, type=_SaidError).error
        except msgspec.MsgspecError:
            text = f"the daemon ended with {code} while it started; see {self.log}"
            return Failed("bug", text, REMEDIES["bug"], fault=True)
        return Failed(said.code, said.message, said.remedy, said.fault)

    def _last_line(self) -> bytes:
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, end - _TAIL_BYTES))
            return file.read().rstrip().rpartition(b"\n")[2]


def start_background(data: Path, arguments: list[str]) -> BackgroundDaemon:
    """Start `dwd serve` with these arguments, as a process that outlives us.

    Raises:
        BadConfig: the data folder or the log in it cannot be made.
    """
    log = data / LOG_NAME
    try:
        make_directories(data)
        with _opened_log(log) as output:
            start = output.seek(0, os.SEEK_END)
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "dwd", "serve", "--json", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",  # a daemon must not keep a mount busy
                env=os.environ | {"PYTHONPATH": _search_path()},
                start_new_session=True,
            )
    except OSError as error:
        raise BadConfig(f"{log}: cannot be made: {error.strerror}") from error
    return BackgroundDaemon(log, start, process)


def _search_path() -> str:
    """Where this very package was found: it need not be installed."""
    ours = str(Path(dwd.__file__ or "").parent.parent)
    return os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))


def _opened_log(log: Path) -> IO[bytes]:
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.rename(log.with_name(log.name + ".1"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE), "ab")
