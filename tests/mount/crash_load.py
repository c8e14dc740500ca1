"""A mixed load that knows what it did: a worker of the crash tests, and the check of what it left.

As a program (`crash_load.py FOLDER JOURNAL BOARD SLOT SEED`) it creates, appends to, overwrites, renames, removes and
fsyncs files in its own folder until the board says stop. Its journal lies outside the mount: a line before each
operation, and one after with what it returned. Files consist of records of one size; each record says which file,
place and version it is, and its filling follows from that: nothing else can pass for it.

check() replays a journal. The namespace must be one that was at, or after, the last fsync that returned; a record
must be of a version at, or after, the one last fsynced, or of none where none was; nothing else may be there.
"""

import contextlib
import hashlib
import json
import mmap
import os
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

_HEADER: Final = struct.Struct("<8sIIIII")  # magic, worker, file, place, version, size
_MAGIC: Final = b"DWRECORD"
_SIZES: Final = (100, 1000, 4096, 20_000, 70_000, 300_000)
_FILES_MAX: Final = 40
_RECORDS_MAX: Final = 24
_SLOT: Final = struct.Struct("<QQQQ")  # requests begun, ended, promises of durability, errors
_SLOTS_AT: Final = 64
BOARD_BYTES: Final = 4096
_Word: TypeAlias = str | int | bool | None


class Board:
    """Counters of all workers in a shared mapping, and the word to stop."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), BOARD_BYTES)

    def close(self) -> None:
        self._map.close()

    @property
    def stopped(self) -> bool:
        return self._map[0] == 1

    def stop(self) -> None:
        self._map[0] = 1

    def slot(self, number: int) -> tuple[int, int, int, int]:
        begun, ended, promises, errors = _SLOT.unpack_from(self._map, _SLOTS_AT + number * _SLOT.size)
        return begun, ended, promises, errors

    def put(self, number: int, values: list[int]) -> None:
        _SLOT.pack_into(self._map, _SLOTS_AT + number * _SLOT.size, *values)


def record(worker: int, file: int, place: int, version: int, size: int) -> bytes:
    """The bytes of a record."""
    header = _HEADER.pack(_MAGIC, worker, file, place, version, size)
    return header + hashlib.shake_128(header).digest(size - len(header))


def _version_of(raw: bytes, worker: int, file: int, place: int) -> int | None:
    """The version that a record has; None for garbage, 0 for a hole."""
    if not any(raw):
        return 0
    if len(raw) < _HEADER.size:
        return None
    version: int = _HEADER.unpack_from(raw)[4]
    return version if raw == record(worker, file, place, version, len(raw)) else None


def _is_torn(raw: bytes, candidates: list[bytes]) -> bool:
    """Whether it is of two versions, cut once: between two requests of the kernel, or where a segment ends."""
    padded = raw.ljust(len(candidates[0]), b"\0")
    fronts = max(_alike(padded, each) for each in candidates)
    backs = max(_alike(padded[::-1], each[::-1]) for each in candidates)
    return fronts + backs >= len(padded)


def _alike(one: bytes, other: bytes) -> int:
    """How many bytes at the front are the same."""
    return next((at for at, (left, right) in enumerate(zip(one, other, strict=True)) if left != right), len(one))


# ---- the worker ----


@attrs.define(eq=False)
class _Open:
    file: int
    size: int
    descriptor: int
    name: str
    durable: bool
    versions: dict[int, int] = attrs.field(factory=dict)


class Worker:
    """One process of the load."""

    def __init__(self, folder: Path, journal: Path, board: Board, slot: int, seed: int) -> None:
        self._folder = folder
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._board = board
        self._slot = slot
        self._random = random.Random(seed)
        self._counters = [0, 0, 0, 0]
        self._files: dict[str, _Open] = {}
        self._made = 0
        self._directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def run(self) -> None:
        """Go on until told to stop, or until something fails: from there on nobody knows what is right."""
        choices = [self._create] * 4 + [self._write] * 12 + [self._sync] * 5 + [self._rename] * 3
        choices += [self._unlink] * 2 + [self._sync_folder] * 2 + [self._read] * 3
        while not self._board.stopped and not self._counters[3]:
            self._random.choice(choices)()

    def _log(self, **words: _Word) -> None:
        os.write(self._journal, json.dumps(words).encode() + b"\n")

    @contextlib.contextmanager
    def _noted(self, *, promise: bool = False, **words: _Word) -> Iterator[None]:
        """Write down an operation before, and what it came to after."""
        self._log(**words)
        self._counters[0] += 1
        self._board.put(self._slot, self._counters)
        try:
            yield
        except OSError as error:
            self._counters[3] += 1
            self._log(error=error.errno, text=str(error))
        else:
            self._counters[2] += promise
            self._log(ok=True)
        self._counters[1] += 1
        self._board.put(self._slot, self._counters)

    def _any(self) -> _Open | None:
        return self._files[self._random.choice(sorted(self._files))] if self._files else None

    def _create(self) -> None:
        if len(self._files) >= _FILES_MAX:
            return
        self._made += 1
        size, durable = self._random.choice(_SIZES), self._random.random() < 0.1
        name = f"f{self._made}"
        with self._noted(do="create", name=name, file=self._made, size=size, durable=durable):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | (os.O_SYNC if durable else 0)
            descriptor = os.open(self._folder / name, flags, 0o644)
            self._files[name] = _Open(self._made, size, descriptor, name, durable)

    def _write(self) -> None:
        file = self._any()
        if file is None:
            return
        place = self._random.randrange(min(len(file.versions) + 1, _RECORDS_MAX))
        version = file.versions.get(place, 0) + 1
        content = record(self._slot, file.file, place, version, file.size)
        with self._noted(do="write", file=file.file, place=place, version=version, promise=file.durable):
            written = os.pwrite(file.descriptor, content, place * file.size)
            if written != len(content):
                raise OSError(0, f"a short write: {written} of {len(content)}")
            file.versions[place] = version

    def _sync(self) -> None:
        file = self._any()
        if file is None:
            return
        with self._noted(do="fsync", file=file.file, promise=True):
            os.fsync(file.descriptor)

    def _sync_folder(self) -> None:
        with self._noted(do="fsyncdir", promise=True):
            os.fsync(self._directory)

    def _rename(self) -> None:
        """To a free name, or over another file."""
        file, other = self._any(), self._any()
        if file is None or other is None:
            return
        self._made += 1
        new = other.name if file is not other and self._random.random() < 0.5 else f"r{self._made}"
        with self._noted(do="rename", name=file.name, new=new):
            (self._folder / file.name).rename(self._folder / new)
            replaced = self._files.pop(new, None)
            if replaced is not None:
                os.close(replaced.descriptor)
            self._files[new] = self._files.pop(file.name)
            file.name = new

    def _unlink(self) -> None:
        file = self._any()
        if file is None or len(self._files) < 5:
            return
        with self._noted(do="unlink", name=file.name):
            (self._folder / file.name).unlink()
            os.close(self._files.pop(file.name).descriptor)

    def _read(self) -> None:
        """What was written a moment ago is read back, daemon or no daemon."""
        file = self._any()
        if file is None or not file.versions:
            return
        place = self._random.choice(sorted(file.versions))
        raw = b""
        with self._noted(do="read", file=file.file, place=place):
            raw = os.pread(file.descriptor, file.size, place * file.size)
        if not self._counters[3] and _version_of(raw, self._slot, file.file, place) != file.versions[place]:
            self._counters[3] += 1
            self._board.put(self._slot, self._counters)
            self._log(wrong=f"{file.name} place {place}: {raw[:40]!r}, not version {file.versions[place]}")


# ---- the check ----


@attrs.define(eq=False)
class _Known:
    """What a journal says of one file."""

    size: int
    durable: bool
    written: dict[int, int] = attrs.field(factory=dict)  # the newest version of each place
    safe: dict[int, int] = attrs.field(factory=dict)  # the one that an fsync returned for


@attrs.define(eq=False)
class Verdict:
    """What a check found: problems, and how much was checked."""

    problems: list[str] = attrs.field(factory=list)
    files: int = 0
    records: int = 0
    promises: int = 0  # fsyncs that returned
    operations: int = 0
    lost_unsynced: int = 0  # records or names that nobody was promised
    torn: int = 0  # unsynced records of which a part arrived before the mount died


@attrs.define(eq=False)
class _Replay:
    """A journal, read to its end."""

    files: dict[int, _Known] = attrs.field(factory=dict)
    names: list[dict[str, int]] = attrs.field(factory=lambda: [{}])  # each state of the folder, in order
    safe_from: int = 0  # the index of the state that was promised last
    verdict: Verdict = attrs.field(factory=Verdict)

    def apply(self, words: dict[str, Any], *, succeeded: bool) -> None:
        """One operation; one that did not return may have happened, and promises nothing."""
        names = dict(self.names[-1])
        match words["do"]:
            case "create":
                self.files[words["file"]] = _Known(words["size"], words["durable"])
                names[words["name"]] = words["file"]
            case "rename":
                names[words["new"]] = names.pop(words["name"])
            case "unlink":
                del names[words["name"]]
            case "write":
                known = self.files[words["file"]]
                known.written[words["place"]] = words["version"]
                if succeeded and known.durable:
                    known.safe[words["place"]] = words["version"]
                    self.safe_from = len(self.names) - 1
            case "fsync" if succeeded:
                known = self.files[words["file"]]
                known.safe = dict(known.written)
                self.safe_from = len(self.names) - 1
            case "fsyncdir" if succeeded:
                self.safe_from = len(self.names) - 1
        if names != self.names[-1]:
            self.names.append(names)
        self.verdict.operations += 1
        self.verdict.promises += succeeded and words["do"].startswith("fsync")


def _replayed(journal: Path, *, may_fail: bool) -> _Replay:
    replay = _Replay()
    lines = journal.read_text(encoding="utf-8").splitlines()
    pending: dict[str, Any] | None = None
    for line in lines:
        words = json.loads(line)
        if "do" in words:
            pending = words
        elif "wrong" in words:
            replay.verdict.problems.append(words["wrong"])
        elif pending is not None:
            if "error" in words and not may_fail:
                replay.verdict.problems.append(f"{pending} failed: {words['text']}")
            replay.apply(pending, succeeded="ok" in words)
            pending = None
    if pending is not None:
        replay.apply(pending, succeeded=False)
    return replay


def check(folder: Path, journal: Path, worker: int, *, everything: bool) -> Verdict:
    """Compare a worker's folder with its journal; with `everything`, nothing failed and not even unsynced is lost."""
    replay = _replayed(journal, may_fail=not everything)
    verdict = replay.verdict
    found = sorted(os.listdir(folder))
    allowed = replay.names[-1:] if everything else replay.names[replay.safe_from :]
    state = next((names for names in reversed(allowed) if sorted(names) == found), None)
    if state is None:
        verdict.problems.append(f"{folder}: {found} is none of {len(allowed)} states, the last {sorted(allowed[-1])}")
        return verdict
    verdict.lost_unsynced += len(replay.names) - 1 - replay.names.index(state)
    for name, number in state.items():
        _check_file(folder / name, worker, number, replay.files[number], verdict, everything=everything)
    return verdict


def _check_file(path: Path, worker: int, number: int, known: _Known, verdict: Verdict, *, everything: bool) -> None:
    content = path.read_bytes()
    verdict.files += 1
    places = range(max([len(content) // known.size + 1, *(place + 1 for place in known.written)]))
    for place in places:
        raw = content[place * known.size : (place + 1) * known.size]
        version = _version_of(raw, worker, number, place)
        newest, safe = known.written.get(place, 0), known.safe.get(place, 0)
        verdict.records += 1
        if version is None and not everything and newest:
            candidates = [record(worker, number, place, each, known.size) for each in range(max(safe, 1), newest + 1)]
            candidates += [bytes(known.size)] * (safe == 0)
            if _is_torn(raw, candidates):
                verdict.torn += 1
                continue
        if version is None or not (newest if everything else safe) <= version <= newest:
            verdict.problems.append(
                f"{path.name} place {place} of {known.size}: found {version}, written {newest}, synced {safe}, "
                f"{raw[:48]!r} of {len(raw)}"
            )
        elif version < newest:
            verdict.lost_unsynced += 1


def main(argv: list[str]) -> None:
    """Be a worker."""
    folder, journal, board, slot, seed = argv
    Path(folder).mkdir(exist_ok=True)
    worker = Worker(Path(folder), Path(journal), Board(Path(board)), int(slot), int(seed))
    worker.run()


if __name__ == "__main__":
    main(sys.argv[1:])
