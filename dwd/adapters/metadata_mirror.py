"""One mirror of the metadata: a folder on a brick.

BRICK/metadata/mirrors                    which copies count (dwd.codec.mirror_set), on every brick of a mirrored volume
BRICK/metadata/lock                       held by the daemon that owns the volume
BRICK/metadata/wal/                       the log, as in the data folder
BRICK/metadata/snapshot-INDEX.db, .seal   the state store after command INDEX; it counts once its seal is there

Rules: a snapshot is whole and durable before it has its seal, and the one before goes after that. These block.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
from blake3 import blake3

from dwd.adapters.durable_files import replace_file, sync_directory
from dwd.adapters.sqlite_snapshot import copy_state
from dwd.codec.mirror_set import MirrorSet, decode_mirror_set, encode_mirror_set
from dwd.codec.page import PAGE_BYTES
from dwd.codec.snapshot_seal import SnapshotSeal, decode_snapshot_seal, encode_snapshot_seal
from dwd.codec.superblock import Superblock, decode_superblock
from dwd.model.errors import BrickFault, CorruptIdentity, CorruptStore, DataBusy, FormatTooNew
from dwd.model.ids import LogIndex, VolumeId
from dwd.model.units import MIB

METADATA: Final = "metadata"
_SET: Final = "mirrors"
_LOCK: Final = "lock"
_COPY_BYTES: Final = 4 * MIB


@attrs.frozen
class MirrorFolder:
    """The metadata folder of a brick."""

    path: Path

    @classmethod
    def of(cls, brick: Path) -> "MirrorFolder":
        """Where a brick has it."""
        return cls(brick / METADATA)

    @property
    def wal(self) -> Path:
        """The folder of the log."""
        return self.path / "wal"

    def read_set(self) -> MirrorSet | None:
        """Who counts, as far as this brick knows; None if it says nothing. Raises FormatTooNew."""
        return read_set(self.path / _SET)

    def write_set(self, mirrors: MirrorSet) -> None:
        """Say who counts, durably. Raises BrickFault."""
        with _faults(self.path):
            self._make()
            replace_file(self.path / _SET, encode_mirror_set(mirrors))

    def lock(self) -> int:
        """Keep every other daemon from this copy; the descriptor, to be closed.

        Raises:
            DataBusy: another daemon has it.
            BrickFault: the folder cannot be written.
        """
        with _faults(self.path):
            self._make()
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise DataBusy(f"{self.path}: another dwd serves the volume of this brick; stop that one first") from error
        return descriptor

    def is_locked_by(self, descriptor: int) -> bool:
        """Whether this descriptor holds the lock that is there now."""
        try:
            return os.path.samestat((self.path / _LOCK).stat(), os.fstat(descriptor))
        except OSError:
            return False

    def clear(self) -> None:
        """Delete log and snapshots: what a mirror that no longer counts leaves. Raises BrickFault."""
        with _faults(self.path):
            shutil.rmtree(self.wal, ignore_errors=True)
            for path in self._snapshot_files():
                path.unlink(missing_ok=True)
            if self.path.is_dir():
                sync_directory(self.path)

    def is_clear(self) -> bool:
        """Whether there is nothing to clear."""
        return not self.wal.exists() and not self._snapshot_files()

    def check_there(self) -> None:
        """See that the snapshot has not gone. Raises BrickFault."""
        if self._newest_seal() is None:
            raise BrickFault(f"{self.path}: there is no snapshot any more")

    def take_snapshot(self, store: Path, volume: VolumeId) -> LogIndex:
        """Copy what the state store's last flush left, and forget the snapshot before.

        Raises:
            BrickFault, CorruptStore: it is not there; the one before is.
        """
        draft = self.path / "snapshot.new"
        with _faults(self.path):
            draft.unlink(missing_ok=True)
        applied = copy_state(store, draft)
        database = self.path / f"snapshot-{applied:016d}.db"
        with _faults(self.path):
            if database.with_suffix(".seal").exists():  # of the same state, and sealed already
                draft.unlink()
                return applied
            length, digest = _digest(draft)
            old = [path for path in self._snapshot_files() if path.stem != database.stem and path != draft]
            draft.rename(database)
            sync_directory(self.path)
            sealed = encode_snapshot_seal(SnapshotSeal(volume, applied, length, digest))
            replace_file(database.with_suffix(".seal"), sealed)
            for path in old:
                path.unlink(missing_ok=True)
        return applied

    def restore_snapshot(self, target: Path, volume: VolumeId) -> LogIndex:
        """Copy the snapshot to a new file, durably, and compare it with its seal.

        Raises:
            CorruptStore: there is no sound one.
            BrickFault: a disk failed.
        """
        seal_path = self._newest_seal()
        if seal_path is None:
            raise CorruptStore(f"{self.path} has no snapshot")
        with _faults(self.path):
            sealed = decode_snapshot_seal(seal_path.read_bytes()[: PAGE_BYTES + 1])
            length, digest = _copy(seal_path.with_suffix(".db"), target)
        if (sealed.volume, sealed.length, sealed.digest) != (volume, length, digest):
            raise CorruptStore(f"{seal_path.with_suffix('.db')} is not what its seal says")
        return sealed.applied

    def _make(self) -> None:
        """Not the brick's own folder: one that is gone must not be made again, on the wrong disk."""
        if not self.path.is_dir():
            self.path.mkdir(mode=0o700)
            sync_directory(self.path.parent)

    def _newest_seal(self) -> Path | None:
        return max((path for path in self._snapshot_files() if path.suffix == ".seal"), default=None)

    def _snapshot_files(self) -> list[Path]:
        return list(self.path.glob("snapshot*"))


def brick_at(path: Path) -> Superblock | None:
    """Which brick a folder says that it is; None if it says nothing that can be read. Changes nothing."""
    for name in ("superblock", "superblock.copy"):
        with suppress(OSError, BrickFault, FormatTooNew):
            return decode_superblock((path / name).read_bytes()[: PAGE_BYTES + 1])
    return None


def read_set(path: Path) -> MirrorSet | None:
    """Who counts, as this file says; None if it is missing or damaged. Raises FormatTooNew."""
    try:
        return decode_mirror_set(path.read_bytes())
    except (OSError, CorruptIdentity):
        return None


def _digest(path: Path) -> tuple[int, bytes]:
    """Length and BLAKE3 of a file, which is durable afterwards."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        hashed = blake3()
        while data := file.read(_COPY_BYTES):
            hashed.update(data)
        return file.tell(), hashed.digest()


def _copy(source: Path, target: Path) -> tuple[int, bytes]:
    hashed = blake3()
    with source.open("rb") as file, target.open("xb") as copy:
        while data := file.read(_COPY_BYTES):
            hashed.update(data)
            copy.write(data)
        copy.flush()
        os.fsync(copy.fileno())
        return file.tell(), hashed.digest()


def copy_files(source: Path, target: Path) -> None:
    """Copy the files of a folder into a new one, durably. Raises BrickFault."""
    with _faults(source):
        target.mkdir(mode=0o700)
        for path in sorted(source.iterdir()):
            _copy(path, target / path.name)
        sync_directory(target)


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            (path / "snapshot.new").unlink(missing_ok=True)
        raise BrickFault(f"{path}: {error.strerror or error}") from error
