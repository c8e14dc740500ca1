"""Open the metadata of a volume: its log and its state store, and the mirrors of both; restore what is damaged.

Theory of operation. All copies that count got the same records in the same order, and none was acknowledged before
it was on all of them. A crash can leave them with ends that differ, each a beginning of the longest: the shorter ones
get the missing records. When the data folder's log or state store is missing or damaged, both are replaced by those of
a mirror: its snapshot, and its log from there. A mirror that does not count any more is never looked at.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from dwd.adapters.data_folder import DataFolder
from dwd.adapters.metadata_mirror import MirrorFolder, brick_at, copy_files
from dwd.adapters.metadata_mirrors import MetadataMirrors
from dwd.adapters.metadata_search import Found
from dwd.adapters.sqlite_store import SqliteStore
from dwd.adapters.wal_file import FileWal, has_wal, open_wal, records_after
from dwd.adapters.wal_mirrored import MirroredWal
from dwd.codec.volume_identity import VolumeIdentity
from dwd.model.errors import BrickFault, CorruptStore, CorruptWal, DataBusy, DwError, Fault
from dwd.model.ids import BrickId
from dwd.raft.record import Recovery

_log = logging.getLogger(__name__)


@attrs.frozen
class OpenMetadata:
    """All of it, open."""

    wal: MirroredWal
    store: SqliteStore
    recovery: Recovery
    mirrors: MetadataMirrors


@attrs.frozen
class _Own:
    """What the data folder has."""

    wal: FileWal
    store: SqliteStore
    recovery: Recovery

    def close(self) -> None:
        self.store.close()
        self.wal.abandon()


@attrs.frozen
class _Mirror:
    folder: MirrorFolder
    wal: FileWal


@contextmanager
def open_metadata(folder: DataFolder, found: Found, wanted: int | None) -> Iterator[OpenMetadata]:
    """Open log, state store and mirrors, restored from a mirror if they must be. Blocks.

    Raises:
        CorruptWal, CorruptStore: they are damaged, and no mirror has them.
        DataBusy: another daemon serves the volume.
        Refusal, Fault: a disk failed, or they are another's.
    """
    with ExitStack() as stack:
        locks = _lock_copies(folder, found.identity)
        stack.callback(_unlock, locks)  # also those that are taken later
        own, copies, lost = _open(folder, found)
        stack.callback(own.store.close)
        if found.held != found.identity:
            folder.put_identity(found.identity)
        wal = MirroredWal(own.wal, copies, found.counted)
        mirrors = MetadataMirrors(folder, found, wal, locks, wanted)
        stack.callback(wal.close)
        mirrors.begin(lost)
        yield OpenMetadata(wal, own.store, own.recovery, mirrors)


def _lock_copies(folder: DataFolder, identity: VolumeIdentity) -> dict[BrickId, int]:
    """Keep other daemons from all copies that are here. Raises DataBusy."""
    locks: dict[BrickId, int] = {}
    for place in identity.bricks:
        mirror = MirrorFolder.of(folder.brick(place.path))
        if not mirror.path.is_dir():
            continue
        try:
            locks[place.id] = mirror.lock()
        except BrickFault as fault:
            _log.warning("%s", fault)
        except DataBusy:
            _unlock(locks)
            raise
    return locks


def _unlock(locks: Mapping[BrickId, int]) -> None:
    for descriptor in locks.values():
        os.close(descriptor)


def _open(folder: DataFolder, found: Found) -> tuple[_Own, dict[BrickId, FileWal], dict[BrickId, str]]:
    identity = found.identity
    mirrors, lost = _open_mirrors(folder, found)
    with ExitStack() as opened:
        for mirror in mirrors.values():
            opened.callback(mirror.wal.abandon)
        try:
            _check_current(found)
            own = _open_own(folder, identity)
            _check_reach(own, mirrors)
        except (CorruptWal, CorruptStore) as damage:
            _restore(folder, identity, mirrors, lost, damage)
            own = _open_own(folder, identity)
        if _even_out(folder, identity, own, mirrors, lost):
            own.close()
            own = _open_own(folder, identity)
        opened.pop_all()
    return own, {brick: mirror.wal for brick, mirror in mirrors.items()}, lost


def _check_current(found: Found) -> None:
    if found.held is None:
        raise CorruptWal(found.lost)
    if found.stale:
        raise CorruptWal("the volume has gone on with another data folder since this one was used")


def _open_own(folder: DataFolder, identity: VolumeIdentity) -> _Own:
    if identity.made and not has_wal(folder.wal):
        raise CorruptWal(f"there is no log in {folder.wal}; restore it and the state store from one backup")
    with ExitStack() as opened:
        # The log first: it is only looked at until all of it is known to be sound, and opening the store changes files.
        wal, payloads = open_wal(folder.wal, identity.volume)
        opened.callback(wal.abandon)
        store = SqliteStore.open(folder.store, identity.volume)
        opened.callback(store.close)
        recovery = Recovery(drop_to=store.applied_index)
        for sequence, payload in payloads:
            recovery.add(sequence, payload)
        if identity.made:
            recovery.check_applied(store.applied_index)
        opened.pop_all()
    return _Own(wal, store, recovery)


def _check_reach(own: _Own, mirrors: Mapping[BrickId, _Mirror]) -> None:
    """See that no mirror has gone on so far that our log cannot follow: then ours is from a backup."""
    ours = own.wal.appended_sequence
    for brick, mirror in mirrors.items():
        if mirror.wal.first_sequence > ours:
            own.close()
            raise CorruptWal(f"the log ends with record {ours}, and brick {brick} mirrors it from a later one on")


def _open_mirrors(folder: DataFolder, found: Found) -> tuple[dict[BrickId, _Mirror], dict[BrickId, str]]:
    mirrors: dict[BrickId, _Mirror] = {}
    lost: dict[BrickId, str] = {}
    paths = {place.id: folder.brick(place.path) for place in found.identity.bricks}
    for brick in found.newest.bricks if found.newest else ():
        if brick not in paths:
            continue
        try:
            mirrors[brick] = _open_mirror(paths[brick], found.identity, brick)
        except DwError as failure:
            _log.error("the metadata mirror on brick %d cannot be used: %s", brick, failure)
            lost[brick] = str(failure)
    return mirrors, lost


def _open_mirror(path: Path, identity: VolumeIdentity, brick: BrickId) -> _Mirror:
    superblock = brick_at(path)
    if superblock is None or (superblock.volume, superblock.brick) != (identity.volume, brick):
        raise BrickFault(f"{path}: the brick is not there")
    folder = MirrorFolder.of(path)
    folder.check_there()
    if not has_wal(folder.wal):
        raise CorruptWal(f"there is no log in {folder.wal}")
    return _Mirror(folder, open_wal(folder.wal, identity.volume)[0])


def _restore(
    folder: DataFolder,
    identity: VolumeIdentity,
    mirrors: Mapping[BrickId, _Mirror],
    lost: Mapping[BrickId, str],
    damage: CorruptWal | CorruptStore,
) -> None:
    """Put a mirror's log and snapshot in the places of ours. Raises `damage` if no mirror is sound."""
    reasons = dict(lost)
    for brick, mirror in sorted(mirrors.items(), key=lambda item: -item[1].wal.appended_sequence):
        target = folder.begin_restoring()
        try:
            applied = mirror.folder.restore_snapshot(target.store, identity.volume)
            copy_files(mirror.folder.wal, target.wal)
        except Fault as failure:
            reasons[brick] = str(failure)
            continue
        folder.end_restoring()
        _log.warning(
            "%s; restored from the mirror on brick %d: the state after command %d, and the log to record %d",
            *(damage, brick, applied, mirror.wal.appended_sequence),
        )
        return
    if not reasons:
        raise damage
    told = "; ".join(f"brick {brick}: {reason}" for brick, reason in sorted(reasons.items()))
    raise type(damage)(f"{damage}; and no mirror that counts can be used: {told}") from damage


def _even_out(
    folder: DataFolder,
    identity: VolumeIdentity,
    own: _Own,
    mirrors: dict[BrickId, _Mirror],
    lost: dict[BrickId, str],
) -> bool:
    """Give every copy the records that the longest has; whether our own got some."""
    ends = {folder.wal: own.wal.appended_sequence}
    ends |= {mirror.folder.wal: mirror.wal.appended_sequence for mirror in mirrors.values()}
    longest = max(ends, key=lambda path: ends[path])
    for brick, mirror in tuple(mirrors.items()):
        try:
            _extend(mirror.wal, longest, identity, ends[longest])
        except DwError as failure:
            _log.error("the metadata mirror on brick %d cannot be used: %s", brick, failure)
            lost[brick] = str(failure)
            mirrors.pop(brick).wal.abandon()
    return _extend(own.wal, longest, identity, ends[longest])


def _extend(wal: FileWal, source: Path, identity: VolumeIdentity, end: int) -> bool:
    if wal.appended_sequence == end:
        return False
    last = wal.appended_sequence
    records = records_after(source, identity.volume, last - 1)
    if next(records)[0] != last:  # both must have it: a log may begin with a record that stands for those before
        raise CorruptWal(f"{source} does not reach back to record {last}")
    for _, payload in records:
        wal.append(payload)
    return True
