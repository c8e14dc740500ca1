"""A real daemon, in a process of its own, on a real folder; it is ended by its process number."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import attrs
import msgspec

from tests.integration.mount_client import MountClient

PROJECT = Path(__file__).resolve().parents[2]
_START_S_MAX = 20.0
_STOP_S_MAX = 15.0


@attrs.frozen
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> dict[str, object]:
        """What --json said went wrong."""
        found = json.loads(self.out.strip().splitlines()[-1])["error"]
        assert isinstance(found, dict)
        return found


def dwd(*arguments: object, timeout_s: float = 60.0) -> Result:
    """Run a command of dwd to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "dwd", *map(str, arguments)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@attrs.define(eq=False)
class Daemon:
    """One data folder, and the process that serves it, if there is one."""

    data: Path
    options: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()  # a command that runs the daemon, such as strace
    process: subprocess.Popen[bytes] | None = None
    clients: list[MountClient] = attrs.field(factory=list)

    def start(self) -> "Daemon":
        """Start it and wait until it serves."""
        self.spawn()
        deadline = time.monotonic() + _START_S_MAX
        while not self.serves():
            code = self.running.poll()
            if code is not None:
                raise AssertionError(f"the daemon ended with {code}: {self.log()}")
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)
        return self

    def spawn(self) -> None:
        """Start it."""
        command = [*self.wrapper, sys.executable, "-m", "dwd", "serve", "--data", str(self.data), *self.options]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)

    def serves(self) -> bool:
        """Whether its mount socket answers."""
        try:
            MountClient(self.data).close()
        except OSError:
            return False
        return True

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """Its process."""
        assert self.process is not None
        return self.process

    @property
    def log_path(self) -> Path:
        """What it prints."""
        return self.data.parent / f"{self.data.name}.log"

    def log(self) -> str:
        """What it printed."""
        return self.log_path.read_text(errors="replace")

    def connect(self, session: bytes | None = None, next_request: int = 1) -> MountClient:
        """A mount that said nothing yet."""
        client = MountClient(self.data, session, next_request)
        self.clients.append(client)
        return client

    def client(self, session: bytes | None = None, next_request: int = 1) -> MountClient:
        """A mount that said Hello."""
        client = self.connect(session, next_request)
        client.hello()
        return client

    def kill(self) -> None:
        """As a power switch for the process."""
        assert self.running.poll() is None, f"the daemon had ended by itself: {self.log()}"
        self.running.kill()
        self.running.wait()

    def restart(self) -> "Daemon":
        """Kill it, and start it again."""
        self.kill()
        return self.start()

    def stop(self) -> float:
        """Ask it to end; the seconds that it took."""
        begun = time.monotonic()
        self.running.send_signal(signal.SIGTERM)
        code = self.running.wait(_STOP_S_MAX)
        assert code == 0, (code, self.log())
        return time.monotonic() - begun

    def end(self) -> None:
        """Whatever happened, leave no process."""
        for client in self.clients:
            client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.running.poll() is None

    def rss_mib(self) -> float:
        """Memory that it uses."""
        for line in Path(f"/proc/{self.running.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")

    def statistics(self) -> dict[str, float]:
        """Every counter."""
        result = dwd("statistics", "--data", self.data, "--json")
        assert result.code == 0, result
        return msgspec.json.decode(result.out, type=dict[str, dict[str, float]])["values"]

    def fsck(self) -> Result:
        """Check everything."""
        return dwd("fsck", "--data", self.data, "--json")

    def assert_sound(self) -> None:
        """Fsck finds nothing."""
        result = self.fsck()
        assert result.code == 0, (result.out[:3000], result.err[-3000:])

    def shards(self) -> list[Path]:
        """Every shard file, in the order of bricks."""
        return sorted(path for path in (self.data / "bricks").glob("*/shards/*/*") if path.is_file())

    def brick(self, index: int) -> Path:
        """The folder of a brick, counted from 0."""
        return self.data / "bricks" / str(index)


def fingerprint(*folders: Path, ignoring: Iterable[str] = ()) -> str:
    """All names, modes and bytes below some folders, as one hash."""
    digest = hashlib.sha256()
    ignored = set(ignoring)
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.name in ignored:
                continue
            found = path.lstat()
            digest.update(f"{path} {found.st_mode:o} {found.st_size if path.is_file() else 0}\n".encode())
            if path.is_file() and not path.is_symlink():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def flip(path: Path, offset: int) -> None:
    """Change one bit of a file's byte, in place."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))
        os.fsync(file.fileno())


def wait_until(condition: object, within_s: float = 10.0) -> None:
    """Poll a callable until it is true."""
    assert callable(condition)
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
