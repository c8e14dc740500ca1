"""One mount, put together: the client, the engine, pyfuse3, and one nursery that owns every task.

Ends in order, whether the kernel unmounts or a signal comes: no more requests, everything dirty sent
and made durable, the session closed, the mount point free. A bug ends the process as it stands, and leaves
the mount point dead (ENOTCONN): programs that go on must not find the folder beneath instead.
"""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import pyfuse3
import trio

from dwd.model.errors import DwError, Fault
from dwd.model.ids import SessionId
from dwd.model.limits import LABEL_CHARACTERS_MAX
from dwd.wire.messages import Barrier, Goodbye
from dwd.wire.shown import shown_name
from dwfs import polling
from dwfs.cache.coherence import Coherence
from dwfs.cache.dirty import Dirty
from dwfs.cache.names import NameCache
from dwfs.cache.references import References
from dwfs.client import Client
from dwfs.config import SOCKET_NAME, MountOptions, VolumeOptions
from dwfs.connecting import ClientOptions
from dwfs.embedded import EmbeddedDaemon
from dwfs.engine.directories import Directories
from dwfs.engine.feeding import Feeder
from dwfs.engine.files import Files
from dwfs.engine.flusher import Flusher
from dwfs.engine.inodes import Inodes
from dwfs.engine.listener import Listener
from dwfs.engine.namespace import Namespace
from dwfs.engine.orphans import Orphans
from dwfs.handles import Handles
from dwfs.kernel import drop_pages, feed_pages
from dwfs.mounts import device_of_mount
from dwfs.operations import Operations
from dwfs.watch import Watch

_SESSION_BYTES: Final = 16
_READ_AHEAD_KB: Final = 4096
_LAST_FLUSH_S_MAX: Final = 300.0  # then what is unsent is lost, and the log says so

log = logging.getLogger(__name__)


@attrs.frozen
class Engine:
    """The parts that app.run() starts and stops."""

    client: Client
    dirty: Dirty
    flusher: Flusher
    feeder: Feeder
    orphans: Orphans
    listener: Listener
    operations: Operations
    watch: Watch


def build(mountpoint: Path, volume: VolumeOptions, options: MountOptions) -> Engine:
    """Introduce the parts to each other."""
    coherence, references, names, handles, dirty = Coherence(), References(), NameCache(), Handles(), Dirty()
    watch = Watch()
    listener = Listener(coherence, references, names, drop_pages)
    client_options = ClientOptions(
        path=volume.data / SOCKET_NAME,
        session=SessionId(os.urandom(_SESSION_BYTES)),
        label=shown_name(os.fsencode(mountpoint))[:LABEL_CHARACTERS_MAX],
        timeout=options.timeout,
        start_daemon=EmbeddedDaemon(volume).start,
    )
    client = Client(client_options, listener, watch)
    inodes = Inodes(client, coherence, dirty)
    flusher = Flusher(client, dirty, inodes, handles, timeout=options.timeout)
    orphans = Orphans(client, references, dirty, inodes)
    feeder = Feeder(client, coherence, inodes, dirty, handles, feed_pages)
    listener.introduce(client, inodes, orphans, flusher, feeder)
    directories = Directories(client, inodes, references, handles)
    files = Files(
        client=client,
        options=options,
        coherence=coherence,
        inodes=inodes,
        dirty=dirty,
        flusher=flusher,
        feeder=feeder,
        orphans=orphans,
        references=references,
        handles=handles,
    )
    namespace = Namespace(
        client=client,
        options=options,
        inodes=inodes,
        names=names,
        dirty=dirty,
        flusher=flusher,
        orphans=orphans,
        references=references,
        files=files,
        directories=directories,
    )
    operations = Operations(namespace, files, directories, orphans, coherence)
    return Engine(client, dirty, flusher, feeder, orphans, listener, operations, watch)


async def run(mountpoint: Path, volume: VolumeOptions, options: MountOptions, ready: Callable[[], None]) -> None:
    """Mount, serve until unmounted or told to stop, and leave nothing unsent.

    Raises:
        DwError: it cannot be mounted.
    """
    engine = build(mountpoint, volume, options)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.client.run)
        await nursery.start(engine.flusher.run)
        nursery.start_soon(engine.feeder.run)
        nursery.start_soon(engine.orphans.run)
        nursery.start_soon(engine.listener.run)
        _mount(mountpoint, volume, options, engine)
        await _serve(mountpoint, engine.operations, ready)
        await _finish(engine)
        pyfuse3.close(unmount=True)
        nursery.cancel_scope.cancel()


def _mount(mountpoint: Path, volume: VolumeOptions, options: MountOptions, engine: Engine) -> None:
    try:
        pyfuse3.init(engine.operations, str(mountpoint), options.for_fuse(volume.data))
        polling.install(engine.watch)
    except RuntimeError as error:
        raise Fault(f"the kernel did not mount {mountpoint}: {error}; the log has what fusermount3 said") from error


async def _serve(mountpoint: Path, operations: Operations, ready: Callable[[], None]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_at_signal)
        nursery.start_soon(_announce, mountpoint, operations, ready)
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


async def _stop_at_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stopping: %s", signal.Signals(number).name)
            pyfuse3.terminate()
            return


async def _announce(mountpoint: Path, operations: Operations, ready: Callable[[], None]) -> None:
    await operations.initialized.wait()
    await trio.to_thread.run_sync(_raise_read_ahead, mountpoint)
    log.info("mounted at %s", mountpoint)
    ready()


def _raise_read_ahead(mountpoint: Path) -> None:
    """The kernel asks for 128 KiB at a time unless told otherwise; only root may tell."""
    device = device_of_mount(mountpoint)
    try:
        Path(f"/sys/class/bdi/{device}/read_ahead_kb").write_text(f"{_READ_AHEAD_KB}\n", encoding="ascii")
    except OSError as error:
        log.info("read-ahead stays as it is: %s", error)


async def _finish(engine: Engine) -> None:
    """No request comes any more: send what is dirty, make it durable, say goodbye."""
    with trio.move_on_after(_LAST_FLUSH_S_MAX):
        try:
            await engine.flusher.drain()
            await engine.client.call(Barrier())
            await engine.client.call(Goodbye())
        except DwError as error:
            log.error("the last of the data may not be durable: %s", error)  # noqa: TRY400  a Fault needs no traceback
    if engine.dirty.unstored_bytes:
        log.error("%d bytes could not be sent to the daemon and are lost", engine.dirty.unstored_bytes)
