"""The composition root: only here do adapters meet services.

open_node() builds a node from its data folder, in the order in which one thing needs the other, and
takes it down again; serve() runs it with its sockets, offline_fsck() without.
"""

import logging
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import msgspec
import trio

from dwd.adapters import data_folder, systemd
from dwd.adapters.data_folder import ADMIN_SOCKET, MOUNT_SOCKET, DataFolder
from dwd.adapters.sqlite_snapshot import open_snapshot
from dwd.adapters.sqlite_store import SqliteStore
from dwd.adapters.unix_socket import open_listener, peer_of
from dwd.adapters.volume_making import check_same, make_bricks, open_bricks, plan_volume
from dwd.adapters.wal_file import FileWal, open_wal
from dwd.adapters.wall_clock import SystemClock
from dwd.codec.volume_identity import VolumeIdentity
from dwd.config import ServeOptions, program_version
from dwd.gateways.admin import AdminGateway, Served, serve_verb
from dwd.gateways.mount_rpc import MountServices, serve_mounts
from dwd.model.errors import CorruptStore, CorruptWal, DwError
from dwd.namespace.commands import MakeVolume
from dwd.namespace.state import State
from dwd.raft.node import Group, RaftNode
from dwd.raft.quorum import Voters
from dwd.raft.record import Recovery
from dwd.services.administration import Administration, NodeFacts
from dwd.services.consensus import Consensus
from dwd.services.fsck import Fsck
from dwd.services.garbage import GarbageCollector
from dwd.services.metadata import Metadata
from dwd.services.mounts import Mounts
from dwd.services.orphans import Orphanage
from dwd.services.reading import FileReader
from dwd.services.repacker import Repacker
from dwd.services.segments import Segments
from dwd.services.space import SpaceKeeper
from dwd.services.storing import FileWriter
from dwd.wire import verbs
from dwd.wire.admin import ADMIN_PROTOCOL, AuditRecord, Progress
from dwd.wire.reports import FsckReport, StatisticsReport, StatusReport, StopReport, VersionReport, VolumeReport
from dwd.wire.shown import shown_name

_log = logging.getLogger("dwd")
_SEED_BITS = 63
_ROOT_MODE = 0o755
_STOP_S_MAX = 20.0


@attrs.frozen
class Node:
    """The services of an open volume."""

    identity: VolumeIdentity
    consensus: Consensus
    metadata: Metadata
    mounts: Mounts
    garbage: GarbageCollector
    orphans: Orphanage
    repacker: Repacker
    mount_services: MountServices
    administration: Administration
    fsck: Fsck

    async def run(self) -> None:
        """The background work; the first failure ends it all."""
        async with trio.open_nursery() as nursery:
            for service in (self.consensus, self.orphans, self.mounts, self.garbage, self.repacker):
                nursery.start_soon(service.run)


def serve(options: ServeOptions) -> int:
    """Run the daemon until it is told to stop; the exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    try:
        trio.run(_serve, options)
    except BaseExceptionGroup as group:
        raise _single(group) from group
    return 0


def offline_fsck(options: ServeOptions, request: verbs.FsckRequest, show: Callable[[Progress], None]) -> FsckReport:
    """Check a volume that no daemon serves, in this process."""

    async def check() -> FsckReport:
        async with (
            open_node(attrs.evolve(options, degraded=True), existing=True) as node,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(node.run)
            report = await node.fsck.run(show, read_bytes=not request.metadata_only)
            nursery.cancel_scope.cancel()
        return report

    try:
        return trio.run(check)
    except BaseExceptionGroup as group:
        raise _single(group) from group


def read_identity(data: Path) -> str | None:
    """The volume in a data folder, in hex; None if it holds none. Raises Fault, Refusal."""
    identity = data_folder.read_identity(data) if data.is_dir() else None
    return None if identity is None else identity.volume.hex()


def _single(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one failure that the caller can name, or the group: then it is a bug."""
    known = group.subgroup(DwError)
    other = group.split(DwError)[1]
    if known is None or other is not None:
        return group
    first: BaseException = known
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


async def _serve(options: ServeOptions) -> None:
    async with open_node(options) as node, AsyncExitStack() as stack:
        stop = trio.Event()
        folder = options.data
        admin = await stack.enter_async_context(open_listener(folder, ADMIN_SOCKET, options.admin_group))
        mounts = await stack.enter_async_context(open_listener(folder, MOUNT_SOCKET))
        gateway = AdminGateway(
            _served(node, stop),
            owner_uid=os.geteuid(),
            peer_of=peer_of,
            audit=_audit,
            wall_clock_ns=SystemClock().now_ns,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.run)
            nursery.start_soon(gateway.run, admin)
            nursery.start_soon(serve_mounts, mounts, node.mount_services)
            nursery.start_soon(_watch_signals, stop)
            _log.info("serving volume %s from %s", node.identity.volume.hex(), folder)
            systemd.notify("READY=1")
            await stop.wait()
            systemd.notify("STOPPING=1")
            node.administration.stopping = True
            _log.info("stopping")
            nursery.cancel_scope.cancel()


async def _watch_signals(stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            stop.set()


def _audit(record: AuditRecord) -> None:
    if record.audit is not verbs.AuditClass.NONE:
        _log.info(
            "audit %s by uid %d pid %d: %s (%s)", record.verb, record.uid, record.pid, record.outcome, record.audit
        )


def _served(node: Node, stop: trio.Event) -> list[Served]:
    administration = node.administration

    async def status(_: verbs.StatusRequest, __: object) -> StatusReport:
        return administration.status()

    async def statistics(request: verbs.StatisticsRequest, _: object) -> StatisticsReport:
        return administration.statistics(request.component)

    async def version(_: verbs.VersionRequest, __: object) -> VersionReport:
        return VersionReport(version=program_version(), admin_protocol=ADMIN_PROTOCOL)

    async def stop_daemon(_: verbs.StopRequest, __: object) -> StopReport:
        stop.set()
        return StopReport(was_running=True, pid=os.getpid())

    async def fsck(request: verbs.FsckRequest, show: Callable[[Progress], None]) -> FsckReport:
        return await node.fsck.run(show, read_bytes=not request.metadata_only)

    async def volume_show(_: verbs.VolumeShowRequest, __: object) -> VolumeReport:
        return administration.volume()

    return [
        serve_verb(verbs.STATUS, status),
        serve_verb(verbs.STATISTICS, statistics),
        serve_verb(verbs.VERSION, version),
        serve_verb(verbs.STOP, stop_daemon),
        serve_verb(verbs.FSCK, fsck),
        serve_verb(verbs.VOLUME_SHOW, volume_show),
    ]


@asynccontextmanager
async def open_node(options: ServeOptions, *, existing: bool = False) -> AsyncIterator[Node]:
    """Open the volume of a data folder; without `existing`, make one where there is none.

    Raises:
        Refusal, Fault: it cannot be opened; nothing that was there has changed.
    """
    # What can be refused is refused before the first byte is written, the lock's file included.
    found = data_folder.read_identity(options.data) if options.data.is_dir() else None
    if found is None and existing:
        raise CorruptStore(f"{options.data} holds no volume")
    planned = found or plan_volume(options.data, options.bricks, options.brick_paths, options.protection)
    async with AsyncExitStack() as stack:
        folder = DataFolder.open(options.data)
        stack.callback(folder.close)
        identity = folder.identity()
        if identity is None:
            identity = planned
            folder.put_identity(identity)
        else:
            check_same(identity, folder, options.bricks, options.brick_paths, options.protection)
        if not identity.made:
            make_bricks(folder, identity)
            folder.store.parent.mkdir(mode=0o700, exist_ok=True)
            if not folder.store.exists():
                SqliteStore.create(folder.store, identity.volume)
        bricks = open_bricks(folder, identity, degraded=options.degraded)
        for brick in bricks.values():
            stack.callback(brick.close)
        # The log first: it is only looked at until all of it is known to be sound, and opening the store changes files.
        if identity.made and not folder.wal_bytes():
            raise CorruptWal(f"there is no log in {folder.wal}; restore it and the state store from one backup")
        wal, payloads = open_wal(folder.wal, identity.volume)
        stack.callback(wal.close)
        store = SqliteStore.open(folder.store, identity.volume)
        stack.callback(store.close)
        recovery = Recovery(drop_to=store.applied_index)
        for sequence, payload in payloads:
            recovery.add(sequence, payload)
        segments = Segments(identity.volume, bricks, identity.protection)
        node = await _build(folder, identity, segments, store, wal, recovery)
        if not identity.made:
            folder.put_identity(msgspec.structs.replace(identity, made=True))
        yield node
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _STOP_S_MAX):
            await node.consensus.flush()


async def _build(
    folder: DataFolder,
    identity: VolumeIdentity,
    segments: Segments,
    store: SqliteStore,
    wal: FileWal,
    recovery: Recovery,
) -> Node:
    """Apply the log over the store, and connect the services."""
    group = Group(identity.node, Voters(frozenset({identity.node})))
    raft = RaftNode(group, recovery, store.applied_index, secrets.randbelow)
    state = State(store)
    consensus = Consensus(raft, recovery.positions, wal, store, state)
    consensus.start()
    metadata = Metadata(consensus, state, SystemClock())
    if not state.exists:
        await metadata.perform(MakeVolume(secrets.randbits(_SEED_BITS), os.geteuid(), os.getegid(), _ROOT_MODE))
    await metadata.begin_epoch()
    await trio.to_thread.run_sync(wal.sync)  # an epoch must never be given out twice, not even by a power cut
    return _connect(folder, identity, segments, consensus, metadata, store)


def _connect(
    folder: DataFolder,
    identity: VolumeIdentity,
    segments: Segments,
    consensus: Consensus,
    metadata: Metadata,
    store: SqliteStore,
) -> Node:
    space = SpaceKeeper(segments.bricks, identity.protection, folder.space, lambda: consensus.pending_bytes)
    orphans = Orphanage(metadata)
    mounts = Mounts(identity.volume, metadata, orphans, space)
    mounts.load()
    garbage = GarbageCollector(metadata, segments, space)
    repacker = Repacker(metadata, segments)
    reader = FileReader(metadata.state, segments)
    writer = FileWriter(metadata, segments, space)
    facts = NodeFacts(
        identity=identity,
        version=program_version(),
        pid=os.getpid(),
        brick_paths={place.id: shown_name(os.fsencode(folder.brick(place.path))) for place in identity.bricks},
        started=trio.current_time(),
        wal_bytes=folder.wal_bytes,
    )
    return Node(
        identity=identity,
        consensus=consensus,
        metadata=metadata,
        mounts=mounts,
        garbage=garbage,
        orphans=orphans,
        repacker=repacker,
        mount_services=MountServices(metadata, mounts, orphans, reader, writer, space, lambda s: peer_of(s).pid),
        administration=Administration(
            facts, consensus, metadata, segments, space, mounts, orphans, garbage, repacker, store
        ),
        fsck=Fsck(consensus, metadata, segments, garbage, store, partial(open_snapshot, folder.store)),
    )
