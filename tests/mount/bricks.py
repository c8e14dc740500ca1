"""What the tests of bricks share: a load that notices every failure, losing bricks, and waiting for protection."""

import hashlib
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs

from tests.mount.volume import Volume, wait_until

BRICKS: Final = 6
_BLOCK: Final = 1 << 16


@attrs.define(eq=False)
class Load:
    """Threads that write, read back and remove files of a folder; whatever fails or differs is kept."""

    folder: Path
    problems: list[str] = attrs.field(factory=list)
    operations: int = 0
    _over: threading.Event = attrs.field(factory=threading.Event)
    _threads: list[threading.Thread] = attrs.field(factory=list)

    def start(self, threads: int = 2) -> None:
        """Begin."""
        for number in range(threads):
            self._threads.append(threading.Thread(target=self._run, args=(number,)))
            self._threads[-1].start()

    def goes_on(self, since: int) -> Callable[[], bool]:
        """Whether some operations were done since there were so many, or something is wrong."""
        return lambda: bool(self.problems) or self.operations > since + 10

    def stop(self) -> None:
        """End; what went wrong is the caller's to look at."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        kept: dict[Path, str] = {}
        while not self._over.is_set() and not self.problems:
            try:
                self._turn(chance, kept, self.folder / f"load{number}-{chance.randrange(12)}")
            except OSError as error:
                self.problems.append(str(error))

    def _turn(self, chance: random.Random, kept: dict[Path, str], path: Path) -> None:
        if path in kept and chance.random() < 0.3:
            path.unlink()
            del kept[path]
        elif path in kept:
            found = digest(path)
            if found != kept[path]:
                self.problems.append(f"{path}: its bytes are not those that were written")
        else:
            content = chance.randbytes(chance.choice((100, 30_000, 300_000, 5_000_000)))
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                if chance.random() < 0.5:
                    os.fsync(file.fileno())
            kept[path] = hashlib.sha256(content).hexdigest()
        self.operations += 1


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, none of them from the kernel's cache."""
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        hashed = hashlib.sha256()
        while block := file.read(_BLOCK):
            hashed.update(block)
    return hashed.hexdigest()


def make_files(folder: Path, seed: int, megabytes: int) -> dict[Path, str]:
    """Files of many sizes, and what their bytes must be for ever."""
    chance = random.Random(seed)
    left, made = megabytes << 20, dict[Path, str]()
    while left > 0:
        size = min(left, chance.choice((0, 1, 4096, 100_000, 1 << 20, 5 << 20)) + 1)
        path = folder / f"file{len(made)}"
        content = chance.randbytes(size)
        path.write_bytes(content)
        made[path] = hashlib.sha256(content).hexdigest()
        left -= size
    subprocess.run(["sync", "-f", folder], check=True)
    return made


def wrong(files: dict[Path, str]) -> list[str]:
    """Files whose bytes are not what they must be."""
    return [str(path) for path, expected in files.items() if digest(path) != expected]


def brick(volume: Volume, number: int) -> Path:
    """The folder of an embedded volume's brick, by its id."""
    paths = {each["id"]: each["path"] for each in volume.ask("status")["bricks"]}
    return Path(paths[number])


def lose(path: Path) -> None:
    """The disk is gone: its mount point as well."""
    shutil.rmtree(path)


def shard_files(volume: Volume) -> list[Path]:
    """Every shard file of an embedded volume."""
    return sorted(path for path in (volume.data / "bricks").glob("*/shards/*/*") if path.is_file())


def wait_until_protected(volume: Volume, seconds: float = 40) -> dict[str, Any]:
    """Until status has nothing to complain of."""
    status: dict[str, Any] = {}

    def is_protected() -> bool:
        status.update(volume.ask("status"))
        return bool(status["state"] == "serving" and status["healing"]["state"] == "whole")

    try:
        wait_until(is_protected, "the volume is fully protected", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {status['problems']} {status['healing']} {volume.ask('heal status')}") from None
    return status
