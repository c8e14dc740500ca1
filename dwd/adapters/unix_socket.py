"""Listening and calling on unix sockets: stale-socket rule, modes, long paths, who the peer is.

Rules: the caller of open_listener holds the lock of the data folder, so nobody else is between our
looking and our binding. A socket's file has its final mode from its first moment, and is removed
when it is closed. A path longer than the kernel takes (107 bytes) goes through /proc/self/fd.
"""

import grp
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from dwd.model.errors import BadConfig, DataBusy, Fault
from dwd.model.limits import CONNECTIONS_MAX
from dwd.wire.admin import Peer

_ADDRESS_BYTES_MAX: Final = 107  # sun_path has 108, the last is NUL
_OWNER_ONLY: Final = 0o600
_OWNER_AND_GROUP: Final = 0o660
_UCRED: Final = struct.Struct("3i")
_PROBE_S: Final = struct.pack("ll", 1, 0)


@asynccontextmanager
async def open_listener(folder: Path, name: str, group: str | None = None) -> AsyncIterator[trio.SocketListener]:
    """Listen on folder/name: for the owner only, or for a group too.

    Raises:
        DataBusy: somebody listens there.
        BadConfig: something else than a socket is in the way, or there is no such group.
        Fault: the folder cannot be written.
    """
    gid = None if group is None else _gid_of(group)
    path = folder / name
    with ExitStack() as opened:
        try:
            folder_fd = opened.enter_context(_folder_opened(folder))
            _remove_stale(folder_fd, path)
            bound = _bind(folder_fd, path, gid)
        except OSError as error:
            raise Fault(f"{path}: cannot listen: {error.strerror}") from error
        opened.callback(_remove_ours, folder_fd, name, _identity(folder_fd, name))
        async with trio.SocketListener(trio.socket.from_stdlib_socket(bound)) as listener:
            yield listener


def connect(folder: Path, name: str, timeout_s: int) -> socket.socket:
    """A blocking connection to folder/name, waiting at most so long for anything.

    Raises:
        OSError: as connect(2); ENOENT or ECONNREFUSED: nobody listens.
    """
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _folder_opened(folder) as folder_fd:
            # Not settimeout(): that connects without blocking, and a full backlog is then an error at once
            limit = struct.pack("ll", timeout_s, 0)
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            caller.connect(_address(folder_fd, folder / name))
    except OSError:
        caller.close()
        raise
    return caller


def peer_of(stream: trio.SocketStream) -> Peer:
    """Who connected, as the kernel saw it then."""
    raw = stream.socket.getsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_PEERCRED, _UCRED.size)
    return Peer(*_UCRED.unpack(raw))


def peer_process(connection: socket.socket) -> int:
    """The pid of who listens at the other end; 0 if it is in another pid namespace."""
    return int(_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0])


@contextmanager
def _folder_opened(folder: Path) -> Iterator[int]:
    folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder_fd
    finally:
        os.close(folder_fd)


def _address(folder_fd: int, path: Path) -> bytes:
    """What to bind or connect to: the path itself where it fits, because ss(8) and lsof(8) then show it."""
    plain = os.fsencode(path)
    if len(plain) <= _ADDRESS_BYTES_MAX:
        return plain
    return os.fsencode(f"/proc/self/fd/{folder_fd}/{path.name}")


def _remove_stale(folder_fd: int, path: Path) -> None:
    """Remove the socket of a daemon that was killed.

    Raises:
        DataBusy: somebody listens on it, or it cannot be known.
        BadConfig: it is no socket.
    """
    try:
        mode = os.stat(path.name, dir_fd=folder_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BadConfig(f"{path} is in the way: it is no socket; move it elsewhere")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PROBE_S)
        try:
            probe.connect(_address(folder_fd, path))
        except ConnectionRefusedError:
            os.unlink(path.name, dir_fd=folder_fd)
            return
        except OSError as error:
            raise DataBusy(f"{path}: a daemon seems to listen there ({error.strerror}); stop it first") from error
    raise DataBusy(f"{path}: a daemon listens there; stop it first, or use another data folder")


def _bind(folder_fd: int, path: Path, gid: int | None) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), _OWNER_ONLY)  # Linux gives it to the file that bind makes
        listening.bind(_address(folder_fd, path))
        if gid is not None:
            os.chown(path.name, -1, gid, dir_fd=folder_fd, follow_symlinks=False)
            os.chmod(path.name, _OWNER_AND_GROUP, dir_fd=folder_fd)
        listening.listen(CONNECTIONS_MAX)
    except OSError:
        listening.close()
        raise
    return listening


def _gid_of(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise BadConfig(f"admin_group {group!r}: there is no such group") from None


def _identity(folder_fd: int, name: str) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        found = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
        return found.st_dev, found.st_ino
    return None


def _remove_ours(folder_fd: int, name: str, ours: tuple[int, int] | None) -> None:
    if _identity(folder_fd, name) == ours:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder_fd)
