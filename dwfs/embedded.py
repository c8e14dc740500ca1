"""Starts the local daemon when nobody listens: the embedded default.

`dwd serve --background` does the work; it returns once the daemon serves, and says why if it does not.
The first start makes the volume if it is not there. A later one is a recovery.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import trio

import dwfs
from dwd.model.errors import Fault, Refusal
from dwfs.config import VolumeOptions

_START_S_MAX: Final = 60.0  # replaying a long log takes its time
_SAID_BYTES_MAX: Final = 4096
_REFUSED: Final = 3  # an exit code of dwd, see dwd --help


class DaemonNotStarted(Fault):
    """The local daemon could not be started."""

    code = "daemon-not-started"


class DaemonRefused(Refusal):
    """The local daemon declines to serve this folder as asked; the text has its own code."""

    code = "daemon-refused"


class EmbeddedDaemon:
    """How to start it."""

    def __init__(self, volume: VolumeOptions) -> None:
        self._volume = volume
        self._restart = False

    async def start(self) -> None:
        """Start it, and return when it serves.

        Raises:
            DaemonNotStarted, DaemonRefused: with what the daemon said.
        """
        command = [sys.executable, "-m", "dwd", "serve", "--background", *self._arguments()]
        try:
            with trio.fail_after(_START_S_MAX):
                done = await trio.run_process(
                    command, capture_stdout=True, capture_stderr=True, check=False, cwd="/", env=environment()
                )
        except trio.TooSlowError:
            raise DaemonNotStarted(f"dwd serve did not come up within {_START_S_MAX:.0f} s") from None
        except OSError as error:
            raise DaemonNotStarted(f"dwd serve could not be run: {error.strerror}") from error
        if done.returncode == _REFUSED:
            raise DaemonRefused(_said(done))
        if done.returncode:
            raise DaemonNotStarted(_said(done))
        self._restart = True

    def welcomed(self) -> None:
        """A daemon serves us: the next start is a recovery."""
        self._restart = True

    def _arguments(self) -> list[str]:
        """A volume that exists knows its bricks and its protection, unless its data folder was lost meanwhile."""
        volume = self._volume
        arguments = ["--data", str(volume.data)]
        if self._restart:
            arguments.append("--existing")  # its identity may vanish at this moment: no other volume may take its place
            if (volume.data / "identity").exists():
                return arguments
        if volume.bricks is not None:
            arguments += ["--bricks", str(volume.bricks)]
        for path in volume.brick_paths:
            arguments += ["--brick", str(path)]
        if volume.protection is not None:
            arguments += ["--protection", volume.protection]
        if volume.metadata_mirrors is not None:
            arguments += ["--metadata-mirrors", str(volume.metadata_mirrors)]
        return arguments


def _said(done: "subprocess.CompletedProcess[bytes]") -> str:
    text = (done.stderr or done.stdout)[-_SAID_BYTES_MAX:].decode(errors="replace").strip()
    return text or f"dwd serve ended with {done.returncode}"


def environment() -> dict[str, str]:
    """The daemon's package lies beside this one; it need not be installed."""
    ours = str(Path(dwfs.__file__ or "").parent.parent)
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))}
