"""A volume that a test mounts for real, with the ids of every process that it started.

Rules: commands run as a user would run them, by the interpreter that runs the tests. Processes are ended
by their id only. What the logs say is part of the result: an ERROR or a trace that the test did not
announce fails it, and so does a process or a mount that is left over.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

ROOT: Final = Path(__file__).resolve().parents[2]
NOBODY: Final = 65534
_PATIENCE_S: Final = 60.0
_COMMAND_S_MAX: Final = 150.0
_POLL_S: Final = 0.01
_WRONG: Final = re.compile(r"\b(?:ERROR|CRITICAL)\b|^Traceback|^\s+\| *Traceback|Exception ignored")
_MNT_DETACH: Final = 2

Completed = subprocess.CompletedProcess[str]


def run(
    *argv: object,
    check: bool = True,
    timeout: float = _COMMAND_S_MAX,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    user: int | None = None,
    groups: tuple[int, ...] | None = None,
) -> Completed:
    """Run a command; its output is text. A command that hangs or, with `check`, fails is a failure of the test."""
    words = [str(word) for word in argv]
    done = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=timeout,
        env=env or environment(),
        cwd=cwd,
        user=user,
        group=user,
        extra_groups=groups,
    )
    if check and done.returncode:
        raise AssertionError(f"{words} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


def environment() -> dict[str, str]:
    """Ours, where the packages are found whether or not they are installed."""
    kept = {name: value for name, value in os.environ.items() if name != "DWFS_DATA"}
    return kept | {"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def dwfs(*argv: object, check: bool = True, env: dict[str, str] | None = None) -> Completed:
    """The command dwfs."""
    return run(sys.executable, "-m", "dwfs", *argv, check=check, env=env)


def dwd(*argv: object, check: bool = True, env: dict[str, str] | None = None) -> Completed:
    """The command dwd."""
    return run(sys.executable, "-m", "dwd", *argv, check=check, env=env)


def wait_until(condition: Callable[[], object], what: str, seconds: float = _PATIENCE_S) -> None:
    """Poll until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:.0f} s it is still not so that {what}")
        time.sleep(_POLL_S)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def wait_until_ended(pid: int, seconds: float = _PATIENCE_S) -> None:
    """Wait for the end of a process that is not our child."""
    wait_until(lambda: not is_alive(pid), f"process {pid} has ended", seconds)


def rss_bytes(pid: int) -> int:
    """What a process has in memory."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, text
    return int(found[1]) * 1024


def mounts_below(folder: Path) -> list[str]:
    """Mount points, as the kernel names them."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(str(folder))]


def processes_naming(folder: Path) -> list[int]:
    """Processes of ours whose command line names this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.fsencode(folder) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid() and is_alive(pid)]


@attrs.define(eq=False)
class Mount:
    """One mount point and the process that serves it."""

    path: Path
    pid: int


@attrs.define(eq=False)
class Volume:
    """A data folder and its mounts, in a short folder of their own; the first mount is `path`."""

    root: Path
    data: Path
    mounts: list[Mount] = attrs.field(factory=list)
    daemons: list[int] = attrs.field(factory=list)  # every one seen, in order
    announced: list[str] = attrs.field(factory=list)
    options: tuple[str, ...] = ()
    devices: list[Path] = attrs.field(factory=list)  # file systems mounted for it, which go at the end
    _checked: dict[Path, int] = attrs.field(factory=dict)

    @property
    def path(self) -> Path:
        """Where the volume is mounted first."""
        return self.mounts[0].path

    @property
    def pid(self) -> int:
        """Of the first mount's process."""
        return self.mounts[0].pid

    def mount(self, *arguments: str, at: str = "mnt") -> Path:
        """Mount as `dwfs mount` does it; the daemon is started if it is not there."""
        self.options = arguments or self.options
        mountpoint = self.root / at
        mountpoint.mkdir(exist_ok=True)
        done = dwfs("mount", "--json", "--data", self.data, *self.options, mountpoint)
        self.mounts.append(Mount(mountpoint, json.loads(done.stdout)["pid"]))
        self.daemon()
        return mountpoint

    def unmount(self, *arguments: str, at: int = 0) -> None:
        """Unmount as `dwfs umount` does it; that its process has ended belongs to it."""
        mount = self.mounts[at]
        try:
            dwfs("umount", *arguments, mount.path)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"umount hangs; {_whereabouts(mount.pid)}") from None
        wait_until_ended(mount.pid, 5)
        self.mounts.remove(mount)

    def remount(self, *arguments: str) -> Path:
        """Unmount, and mount anew: nothing of it is cached any more."""
        self.unmount()
        return self.mount(*arguments)

    def find_daemon(self) -> int | None:
        """Who listens at the admin socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.connect(str(self.data / "dwd.sock"))
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid: int = struct.unpack("3i", packed)[0]
        if pid not in self.daemons:
            self.daemons.append(pid)
        return pid

    def daemon(self) -> int:
        """The daemon that serves now."""
        pid = self.find_daemon()
        assert pid is not None, "no daemon listens"
        return pid

    def kill_daemon(self) -> int:
        """Kill -9; returns who it was."""
        pid = self.daemon()
        os.kill(pid, signal.SIGKILL)
        wait_until_ended(pid, 10)
        return pid

    def wait_for_another_daemon(self, than: int, seconds: float = 30.0) -> int:
        """Wait until the mount has started the next one."""
        wait_until(lambda: self.find_daemon() not in {None, than}, "another daemon serves", seconds)
        return self.daemon()

    def stop_daemon(self) -> None:
        """As `dwd stop` does it."""
        dwd("stop", "--data", self.data)

    def ask(self, verb: str, *arguments: str, check: bool = True) -> dict[str, Any]:
        """The report of a verb, of one word or two."""
        done = dwd(*verb.split(), "--data", self.data, "--json", *arguments, check=check)
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def assert_sound(self) -> None:
        """Dwd fsck walks everything and finds nothing."""
        report = self.ask("fsck", check=False)
        assert report.get("findings_total") == 0, report

    def announce(self, pattern: str) -> None:
        """This test expects such lines in the logs."""
        self.announced.append(pattern)

    def logs(self) -> dict[Path, str]:
        """What both programs said."""
        paths = [self.data / name for name in ("dwd.log.1", "dwd.log", "dwfs.log.1", "dwfs.log")]
        return {path: path.read_text(encoding="utf-8", errors="replace") for path in paths if path.exists()}

    def complaints(self) -> list[str]:
        """Lines of the logs that say that something is wrong, unless announced or told before."""
        found: list[str] = []
        for path, text in self.logs().items():
            new = text[self._checked.get(path, 0) :]
            self._checked[path] = len(text)
            found += [f"{path.name}: {line}" for line in new.splitlines() if self._is_complaint(line)]
        return found

    def _is_complaint(self, line: str) -> bool:
        return bool(_WRONG.search(line)) and not any(re.search(pattern, line) for pattern in self.announced)

    def end(self) -> list[str]:
        """Unmount, stop the daemon, and say what would not go or had gone wrong."""
        problems = list(self._ending()) + self.complaints()
        pids = {mount.pid for mount in self.mounts} | set(self.daemons)
        with contextlib.suppress(AssertionError):  # one that could not mount may still be on its way out
            wait_until(lambda: not processes_naming(self.root), "all have ended", 5)
        ours = [pid for pid in processes_naming(self.data) if pid in pids]
        problems += [f"process {pid} was left over: {_command_line(pid)}" for pid in ours]
        for pid in ours:
            os.kill(pid, signal.SIGKILL)
            wait_until_ended(pid, 10)
        problems += [f"{pid} was left over: {_command_line(pid)}" for pid in processes_naming(self.root)]
        for device in self.devices:
            run("umount", device)
        left = mounts_below(self.root)
        problems += [f"{path} was left mounted" for path in left]
        for path in left:
            _detach(path)
        return problems

    def _ending(self) -> Iterator[str]:
        for mount in reversed(self.mounts):
            try:
                dwfs("umount", mount.path)
                wait_until_ended(mount.pid, 5)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                yield f"umount {mount.path}: {error}"
        if self.find_daemon() is not None:
            try:
                self.stop_daemon()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                yield f"dwd stop: {error}"


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return "gone meanwhile"


def _whereabouts(pid: int) -> str:
    """Where a process hangs, as far as the kernel tells."""
    shown = [f"process {pid}"]
    for name in ("wchan", "stack", "stat"):
        with contextlib.suppress(OSError):
            shown.append(f"{name}: {Path(f'/proc/{pid}/{name}').read_text(encoding='utf-8')}")
    return "\n".join(shown)


def _detach(path: str) -> None:
    ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_DETACH)
