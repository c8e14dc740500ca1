"""What the commands run: the daemon with its sockets, and fsck of a volume that no daemon serves."""

import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from dwd.adapters import data_folder, systemd
from dwd.adapters.data_folder import ADMIN_SOCKET, MOUNT_SOCKET
from dwd.adapters.unix_socket import open_listener, peer_of
from dwd.adapters.wall_clock import SystemClock
from dwd.config import ServeOptions
from dwd.gateways.admin import AdminGateway
from dwd.gateways.mount_rpc import serve_mounts
from dwd.model.errors import DwError
from dwd.node import open_node
from dwd.serving import served
from dwd.wire import verbs
from dwd.wire.admin import AuditRecord, Progress
from dwd.wire.reports import FsckReport
from dwd.wire.verb import AuditClass

_log = logging.getLogger("dwd")
_SEED_BITS = 63
_ROOT_MODE = 0o755
_STOP_S_MAX = 20.0


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
            open_node(options, existing=True) as node,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(node.run_for_fsck)
            report = await node.answering.fsck.run(show, read_bytes=not request.metadata_only)
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
    async with open_node(options, existing=options.existing) as node, AsyncExitStack() as stack:
        stop = trio.Event()
        # Before anybody can see that it serves: who then tells it to stop must find it listening.
        signals = stack.enter_context(trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT))
        folder = options.data
        admin = await stack.enter_async_context(open_listener(folder, ADMIN_SOCKET, options.admin_group))
        mounts = await stack.enter_async_context(open_listener(folder, MOUNT_SOCKET))
        gateway = AdminGateway(
            served(node.answering, stop.set),
            owner_uid=os.geteuid(),
            peer_of=peer_of,
            audit=_audit,
            wall_clock_ns=SystemClock().now_ns,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.run)
            nursery.start_soon(gateway.run, admin)
            nursery.start_soon(serve_mounts, mounts, node.mount_services)
            nursery.start_soon(_watch_signals, signals, stop)
            _log.info("serving volume %s from %s", node.identity.volume.hex(), folder)
            systemd.notify("READY=1")
            await stop.wait()
            systemd.notify("STOPPING=1")
            node.answering.administration.stopping = True
            _log.info("stopping")
            nursery.cancel_scope.cancel()


async def _watch_signals(signals: AsyncIterator[int], stop: trio.Event) -> None:
    async for _ in signals:
        stop.set()


def _audit(record: AuditRecord) -> None:
    if record.audit is not AuditClass.NONE:
        _log.info(
            "audit %s by uid %d pid %d: %s (%s)", record.verb, record.uid, record.pid, record.outcome, record.audit
        )
