"""DATA: the folder of a node. Its identity, its lock, and the paths in it.

identity      which volume this is (dwd.codec.volume_identity)
lock          held by the daemon that owns the folder
wal/          the log
store/        the state store
mirrors       which copies of the metadata count, if there are mirrors (dwd.codec.mirror_set)
restored/     a mirror's copy that is being put in the place of what was lost
damaged/      what was there before, of the last time
bricks/       the bricks, unless they were given elsewhere
dwd.sock, mount.sock, dwd.toml, dwd.log, dwfs.log
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import attrs

from dwd.adapters.durable_files import make_directories, replace_file, sync_directory
from dwd.codec.mirror_set import MirrorSet, encode_mirror_set
from dwd.codec.volume_identity import VolumeIdentity, decode_identity, encode_identity
from dwd.model.errors import CorruptIdentity, DataBusy, FormatTooNew, StoreFailed, VolumeMismatch
from dwd.ports import BrickSpace
from dwd.wire.shown import shown_name

ADMIN_SOCKET: Final = "dwd.sock"
MOUNT_SOCKET: Final = "mount.sock"
_IDENTITY: Final = "identity"
_LOCK: Final = "lock"
_LOGS: Final = ("dwd.log", "dwd.log.1", "dwfs.log", "dwfs.log.1")
_SET: Final = "mirrors"
_RESTORED: Final = "restored"
_DAMAGED: Final = "damaged"
_WAL: Final = "wal"
_STORE: Final = "store"
_OURS: Final = frozenset(
    {
        *(_LOCK, _IDENTITY + ".new", _SET, _SET + ".new", _RESTORED, _DAMAGED, "dwd.toml", "bricks"),
        *(ADMIN_SOCKET, MOUNT_SOCKET, "lost+found", *_LOGS),
    }
)


class DataFolder:
    """An existing data folder, owned by this process until close()."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path: Final = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the folder if it is absent, and own it.

        Raises:
            DataBusy: another daemon owns it.
            VolumeMismatch: it holds something that is not ours.
            StoreFailed: it cannot be made or written.
        """
        try:
            make_directories(path)
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFailed(f"data folder {path}: {error.strerror}; name a folder that can be written") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise DataBusy(
                f"data folder {path}: another dwd serves it; stop that one first (dwd stop --data {path})"
            ) from error
        return cls(path, lock)

    def close(self) -> None:
        """Let another daemon own it."""
        os.close(self._lock)

    def identity(self) -> VolumeIdentity | None:
        """Which volume this is; None for a folder that holds none yet.

        Raises:
            VolumeMismatch: it holds files that are not ours.
            CorruptIdentity, FormatTooNew: it cannot be read.
        """
        return read_identity(self.path)

    def put_identity(self, identity: VolumeIdentity) -> None:
        """Say which volume this is, durably. Raises Fault."""
        try:
            replace_file(self.path / _IDENTITY, encode_identity(identity))
        except OSError as error:
            raise StoreFailed(f"{self.path / _IDENTITY}: {error.strerror}") from error

    @property
    def wal(self) -> Path:
        """The folder of the log."""
        return self.path / _WAL

    @property
    def store(self) -> Path:
        """The file of the state store."""
        return self.path / _STORE / "namespace.db"

    @property
    def set(self) -> Path:
        """The file that says which copies of the metadata count."""
        return self.path / _SET

    def put_set(self, mirrors: MirrorSet) -> None:
        """Say which copies of the metadata count, durably. Raises StoreFailed."""
        try:
            replace_file(self.set, encode_mirror_set(mirrors))
        except OSError as error:
            raise StoreFailed(
                f"{self.set}: {error.strerror}; see to the disk of the data folder, or make room on it"
            ) from error

    def begin_restoring(self) -> "Restoring":
        """An empty folder for the log and the state store that are to take the places of ours. Raises StoreFailed."""
        new = self.path / _RESTORED
        with _store_errors(new):
            shutil.rmtree(new, ignore_errors=True)
            (new / _STORE).mkdir(parents=True, mode=0o700)
        return Restoring(new / _WAL, new / _STORE / self.store.name)

    def end_restoring(self) -> None:
        """Put what was restored in its place; what was there is kept aside. Raises StoreFailed.

        A power cut in the middle leaves a folder whose log or state store is missing: it is restored again.
        """
        new, aside = self.path / _RESTORED, self.path / _DAMAGED
        with _store_errors(self.path):
            for name in (_WAL, _STORE):
                sync_directory(new / name)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(mode=0o700)
            for name in (_STORE, _WAL):
                if (self.path / name).exists():
                    (self.path / name).rename(aside / name)
            for name in (_WAL, _STORE):
                (new / name).rename(self.path / name)
            sync_directory(self.path)
            shutil.rmtree(new, ignore_errors=True)

    def brick(self, written: str) -> Path:
        """A brick's folder, as the identity writes it."""
        return self.path / written

    def space(self) -> BrickSpace:
        """Room on the device of metadata. Raises StoreFailed."""
        try:
            found = os.statvfs(self.path)
            device = self.path.stat().st_dev
        except OSError as error:
            raise StoreFailed(f"data folder {self.path}: {error.strerror}") from error
        return BrickSpace(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, device)

    def wal_bytes(self) -> int:
        """Bytes of the log's files."""
        return sum(file.stat().st_size for file in self.wal.glob("*.wal"))


@attrs.frozen
class Restoring:
    """Where a copy of the metadata is to be written."""

    wal: Path
    store: Path


@contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFailed(f"{path}: {error.strerror}") from error


def holds_remains(folder: Path) -> bool:
    """Whether there is nothing but what a volume leaves that lost its identity."""
    return set(os.listdir(folder)) <= _OURS | {_WAL, _STORE, _IDENTITY}


def read_identity(folder: Path) -> VolumeIdentity | None:
    """As DataFolder.identity(), for one who does not own the folder."""
    path = folder / _IDENTITY
    try:
        if not path.exists():
            _check_no_strangers(folder)
            return None
        return decode_identity(path.read_bytes())
    except CorruptIdentity as fault:
        raise CorruptIdentity(f"{path}: {fault}; restore it from a backup") from fault
    except FormatTooNew as refusal:
        raise FormatTooNew(f"{path}: {refusal}") from refusal
    except OSError as error:
        raise CorruptIdentity(f"{path}: {error.strerror}") from error


def _check_no_strangers(folder: Path) -> None:
    strangers = sorted(set(os.listdir(folder)) - _OURS)
    if strangers:
        some = ", ".join(shown_name(os.fsencode(name)) for name in strangers[:3])
        raise VolumeMismatch(
            f"data folder {folder} holds {some}, but no volume; name an empty folder, or restore {folder / _IDENTITY}"
        )
