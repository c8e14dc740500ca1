"""The log as a directory of numbered files: DATA/wal/0000000000000001.wal and so on.

Rules: one thread appends, another may sync meanwhile. Space is filled with zeros before it is used, so that a
sync need not change the file's size, and a full disk is met before a record is begun. A page that a sync covers
is never written again. A file that is followed by another was durable before the other got its name.
After a failed write or sync nothing is tried again: the kernel may have dropped the data and forgotten the error.
"""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs

from dwd.codec.wal_frame import (
    PAGE_BYTES,
    FileHeader,
    Scan,
    Tail,
    decode_file_header,
    encode_file_header,
    encode_record,
    framed_length,
    scan,
)
from dwd.model.checks import invariant
from dwd.model.errors import CorruptWal, NoSpace, WalFault
from dwd.model.ids import VolumeId
from dwd.model.limits import WAL_FILE_BYTES, WAL_RECORD_BYTES_MAX
from dwd.model.units import MIB, round_up

FILL_BYTES: Final = 1 * MIB  # zeroed at a time: 0.3 ms in the appending thread

_SUFFIX: Final = ".wal"
_UNNAMED: Final = "next.tmp"  # a file whose header is not durable yet
_ZEROS: Final = bytes(FILL_BYTES)


@attrs.frozen
class _Recovered:
    """A file found at opening, and what is in it."""

    path: Path
    header: FileHeader
    content: Scan


class FileWal:
    """The log of one node on one directory (ports.Wal)."""

    def __init__(self, directory: Path, volume: VolumeId, files: dict[int, int], next_sequence: int, end: int) -> None:
        """For open_wal only: `files` maps numbers to first sequences, `end` is that of the last file's records."""
        self._directory = directory
        self._volume = volume
        self._files = files
        self._number = max(files)
        self._descriptor = os.open(_path(directory, self._number), os.O_RDWR | os.O_CLOEXEC)
        self._next_sequence = next_sequence
        self._position = round_up(end, PAGE_BYTES)
        self._filled = os.fstat(self._descriptor).st_size
        self._synced_sequence = next_sequence - 1
        # Guards the three fields that a sync and an append share: position, descriptor, sequences.
        self._lock = threading.Lock()
        self._failed = False

    @property
    def appended_sequence(self) -> int:
        """The last record that is in the file: it survives a crash of the process."""
        return self._next_sequence - 1

    @property
    def synced_sequence(self) -> int:
        """The last record that survives a power cut."""
        return self._synced_sequence

    @property
    def first_sequence(self) -> int:
        """The first record that is kept, or will be the first."""
        return self._files[min(self._files)]

    @property
    def file_bytes(self) -> int:
        """Of its files, in full: what it may take on the disk."""
        return len(self._files) * WAL_FILE_BYTES

    @property
    def has_failed(self) -> bool:
        """Whether nothing can be written to it any more."""
        return self._failed

    def check_there(self) -> None:
        """See that the file that is written still has its name.

        Raises:
            WalFault: somebody deleted or replaced it, or its folder.
        """
        with self._lock:
            self._check_usable()
            path = _path(self._directory, self._number)
            ours = os.fstat(self._descriptor)
        try:
            if not os.path.samestat(path.stat(), ours):
                raise FileNotFoundError(errno.ENOENT, "it was replaced by another", str(path))
        except OSError as error:
            raise self._failure("find", error) from error

    def append(self, payload: bytes) -> None:
        """Add one record; it is in the file when this returns.

        Raises:
            NoSpace: the disk is full; nothing of the record was written.
            WalFault: the disk failed.
        """
        invariant(len(payload) <= WAL_RECORD_BYTES_MAX, "W1", ("bytes of a record", len(payload)))
        with self._lock:
            self._check_usable()
            try:
                self._append(payload)
            except OSError as error:
                raise self._failure("append to", error) from error

    def sync(self) -> None:
        """Make every record appended so far survive a power cut. Blocks. Appends may go on meanwhile."""
        with self._lock:
            self._check_usable()
            target = self.appended_sequence
            if self._synced_sequence == target:
                return
            # From here on: what is appended while the disk works must not share a page with what it makes durable.
            self._position = round_up(self._position, PAGE_BYTES)
            # The appending thread may leave this file for the next, and close it, before the disk has finished.
            descriptor = os.dup(self._descriptor)
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            raise self._failure("sync", error) from error
        finally:
            os.close(descriptor)
        with self._lock:
            self._synced_sequence = max(self._synced_sequence, target)

    def forget_before(self, position: int) -> None:
        """Delete the files whose records all lie before the record with this sequence number. Blocks."""
        with self._lock:
            numbers = sorted(self._files)
            doomed = [number for number, after in pairwise(numbers) if self._files[after] <= position]
            for number in doomed:
                del self._files[number]
        try:
            # Oldest first, so that a crash leaves no gap.
            for number in doomed:
                _path(self._directory, number).unlink()
            if doomed:
                _sync_directory(self._directory)
        except OSError as error:
            raise self._failure("delete files of", error) from error

    def close(self) -> None:
        """Sync, then give the file back. After a failure there is nothing to sync, and it was told before."""
        try:
            if not self._failed:
                self.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Give the file back as it is; nothing can be done with the log afterwards."""
        with self._lock:
            self._failed = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _check_usable(self) -> None:
        if self._failed:
            raise WalFault(f"the log in {self._directory} has failed before and is not written to again")

    def _failure(self, action: str, error: OSError) -> WalFault:
        self._failed = True
        return WalFault(f"could not {action} the log in {self._directory}: {error}; dwd ends")

    def _append(self, payload: bytes) -> None:
        end = self._position + framed_length(len(payload))
        if end > WAL_FILE_BYTES:
            self._begin_next_file()
            end = self._position + framed_length(len(payload))
        if end > self._filled:
            self._fill(end)
        record = encode_record(payload, self._next_sequence, self._synced_sequence, self._number)
        _write_whole(self._descriptor, record, self._position)
        self._position = end
        self._next_sequence += 1

    def _fill(self, end: int) -> None:
        """Zero the file up to a whole step behind `end`. What was filled when the disk got full stays of use."""
        goal = min(round_up(end, FILL_BYTES), WAL_FILE_BYTES)
        while self._filled < goal:
            try:
                self._filled += os.pwrite(self._descriptor, _ZEROS[: goal - self._filled], self._filled)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                if self._filled >= end:
                    return
                raise NoSpace(f"no room for the log in {self._directory}: free some space there") from error

    def _begin_next_file(self) -> None:
        os.fdatasync(self._descriptor)
        self._synced_sequence = self.appended_sequence
        number, first = self._number + 1, self._next_sequence
        try:
            _create_file(self._directory, FileHeader(self._volume, number, first))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoSpace(f"no room for the log in {self._directory}: free some space there") from error
        os.close(self._descriptor)
        self._descriptor = os.open(_path(self._directory, number), os.O_RDWR | os.O_CLOEXEC)
        self._files[number] = first
        self._number = number
        self._position = PAGE_BYTES
        self._filled = os.fstat(self._descriptor).st_size


def open_wal(directory: Path, volume: VolumeId) -> tuple[FileWal, Iterator[tuple[int, bytes]]]:
    """Open the log in a directory, or begin one in an empty directory, and hand back its records in order.

    Everything is checked before this returns; a torn tail is zeroed. What is handed back is durable.

    Raises:
        CorruptWal: a record that may have been acknowledged is damaged; the text names file and byte.
        VolumeMismatch, FormatTooNew: the files are not ours to touch.
        WalFault: the disk failed.
        NoSpace: there is no room to begin a log.
    """
    with _opening(directory):
        return _open(directory, volume)


def begin_wal(directory: Path, volume: VolumeId, first_sequence: int) -> FileWal:
    """Begin a log in an empty directory whose first record will have this sequence number. Blocks.

    Raises:
        WalFault: the disk failed.
        NoSpace: there is no room to begin a log.
    """
    with _opening(directory):
        directory.mkdir(mode=0o700, exist_ok=True)
        _create_file(directory, FileHeader(volume, 1, first_sequence))
        return FileWal(directory, volume, {1: first_sequence}, first_sequence, PAGE_BYTES)


def records_after(directory: Path, volume: VolumeId, sequence: int) -> Iterator[tuple[int, bytes]]:
    """The records behind this one, in order. Blocks. Raises as open_wal()."""
    with _opening(directory):
        for path in sorted(directory.glob(f"*{_SUFFIX}")):
            for found, payload in _payloads([_recover(path, volume)]):
                if found > sequence:
                    yield found, payload


def has_wal(directory: Path) -> bool:
    """Whether there is a file of a log. Blocks."""
    return any(directory.glob(f"*{_SUFFIX}"))


@contextmanager
def _opening(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"no room for the log in {directory}: free some space there") from error
        raise WalFault(f"could not open the log in {directory}: {error}") from error


def _open(directory: Path, volume: VolumeId) -> tuple[FileWal, Iterator[tuple[int, bytes]]]:
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / _UNNAMED).unlink(missing_ok=True)
    paths = sorted(directory.glob(f"*{_SUFFIX}"))
    if not paths:
        _create_file(directory, FileHeader(volume, 1, 1))
        paths = [_path(directory, 1)]
    files = [_recover(path, volume) for path in paths]
    _check_order(files)
    last = files[-1]
    _mend_tail(last)
    firsts = {file.header.number: file.header.first_sequence for file in files}
    wal = FileWal(directory, volume, firsts, last.content.next_sequence, last.content.end)
    return wal, _payloads(files)


def _recover(path: Path, volume: VolumeId) -> _Recovered:
    data = path.read_bytes()
    header = decode_file_header(data[:PAGE_BYTES], volume, str(path))
    if path.name != _name(header.number):
        raise CorruptWal(f"{path}: byte 0: the file's header says that it is {_name(header.number)}")
    content = scan(data, header.first_sequence, header.number)
    if content.tail is Tail.DAMAGED:
        raise CorruptWal(f"{path}: byte {content.bad_offset}: {_damage(content)}")
    return _Recovered(path, header, content)


def _check_order(files: list[_Recovered]) -> None:
    """A file that is followed by another is whole, and no file between them is missing."""
    for file, following in pairwise(files):
        if following.header.number != file.header.number + 1:
            raise CorruptWal(f"{file.path}: byte 0: the next file, {_name(file.header.number + 1)}, is missing")
        if following.header.first_sequence != file.content.next_sequence:
            raise CorruptWal(f"{file.path}: byte {file.content.bad_offset}: {_damage(file.content)}")


def _damage(content: Scan) -> str:
    return (
        f"record {content.next_sequence} of the log is damaged and may have been acknowledged; nothing was changed; "
        "restore the file from a mirror or a backup"
    )


def _mend_tail(last: _Recovered) -> None:
    """Zero what was never acknowledged, so that it can never be taken for a record; make the rest durable."""
    descriptor = os.open(last.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if last.content.tail is Tail.TORN:
            _write_whole(descriptor, bytes(size - last.content.end), last.content.end)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _payloads(files: list[_Recovered]) -> Iterator[tuple[int, bytes]]:
    for file in files:
        data = file.path.read_bytes()
        for sequence, (offset, length) in enumerate(file.content.spans, file.header.first_sequence):
            yield sequence, data[offset : offset + length]


def _create_file(directory: Path, header: FileHeader) -> None:
    """Make a file that has its name only after its header is durable."""
    unnamed = directory / _UNNAMED
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_whole(descriptor, encode_file_header(header) + _ZEROS[PAGE_BYTES:], 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unnamed.rename(_path(directory, header.number))
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, data: bytes, offset: int) -> None:
    written = os.pwrite(descriptor, data, offset)
    if written != len(data):
        raise OSError(errno.EIO, f"wrote {written} of {len(data)} bytes at {offset}")


def _name(number: int) -> str:
    return f"{number:016d}{_SUFFIX}"


def _path(directory: Path, number: int) -> Path:
    return directory / _name(number)
