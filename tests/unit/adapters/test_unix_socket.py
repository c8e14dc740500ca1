"""Unix sockets on a real folder."""

import os
import socket
import stat
from pathlib import Path

import pytest
import trio

from dwd.adapters.unix_socket import connect, open_listener, peer_of, peer_process
from dwd.model.errors import BadConfig, DataBusy, Fault


async def test_a_socket_is_the_owners_and_goes_when_closed(tmp_path: Path) -> None:
    """The file is made with mode 0600, whatever the umask, and removed at the end."""
    before = os.umask(0)
    try:
        async with open_listener(tmp_path, "dwd.sock"):
            assert stat.S_IMODE((tmp_path / "dwd.sock").stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == []


async def test_a_group_may_be_let_in(tmp_path: Path) -> None:
    """With a group the socket is 0660 and belongs to it; one that does not exist is refused by name."""
    async with open_listener(tmp_path, "dwd.sock", "root" if os.getuid() == 0 else None):
        if os.getuid() == 0:
            assert stat.S_IMODE((tmp_path / "dwd.sock").stat().st_mode) == 0o660
    with pytest.raises(BadConfig, match="no-such-group"):
        async with open_listener(tmp_path, "dwd.sock", "no-such-group"):
            pass


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    """What a killed daemon left is taken over; what a living one listens on stays its own."""
    killed = socket.socket(socket.AF_UNIX)
    killed.bind(str(tmp_path / "dwd.sock"))
    killed.close()
    async with open_listener(tmp_path, "dwd.sock"):
        with pytest.raises(DataBusy, match="listens there"):
            async with open_listener(tmp_path, "dwd.sock"):
                pass
        connect(tmp_path, "dwd.sock", 1).close()


async def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """A file in the way is refused by name, not removed."""
    (tmp_path / "dwd.sock").write_text("mine")
    with pytest.raises(BadConfig, match="in the way"):
        async with open_listener(tmp_path, "dwd.sock"):
            pass
    assert (tmp_path / "dwd.sock").read_text() == "mine"


async def test_a_missing_folder_is_a_fault(tmp_path: Path) -> None:
    """An OSError does not leave the adapter."""
    with pytest.raises(Fault, match="absent"):
        async with open_listener(tmp_path / "absent", "dwd.sock"):
            pass


async def test_a_long_path_works(tmp_path: Path) -> None:
    """A data folder deeper than the kernel's 107 bytes can be listened on, called, replaced and left."""
    deep = tmp_path / ("d" * 100) / ("e" * 100) / "\udcff"
    deep.mkdir(parents=True)
    killed = socket.socket(socket.AF_UNIX)
    folder_fd = os.open(deep, os.O_PATH)
    killed.bind(f"/proc/self/fd/{folder_fd}/dwd.sock")
    os.close(folder_fd)
    killed.close()
    async with open_listener(deep, "dwd.sock") as listener:
        with connect(deep, "dwd.sock", 1) as caller:
            async with await listener.accept():
                assert peer_process(caller) == os.getpid()
    assert list(deep.iterdir()) == []


async def test_a_socket_that_another_took_over_is_left(tmp_path: Path) -> None:
    """At its end a listener removes its own file only."""
    async with open_listener(tmp_path, "dwd.sock"):
        (tmp_path / "dwd.sock").unlink()
        (tmp_path / "dwd.sock").write_text("another's")
    assert (tmp_path / "dwd.sock").exists()


async def test_the_peer_is_who_the_kernel_says(tmp_path: Path) -> None:
    """Process, user and group come from SO_PEERCRED."""
    async with open_listener(tmp_path, "dwd.sock") as listener:
        with connect(tmp_path, "dwd.sock", 1):
            async with await listener.accept() as stream:
                peer = peer_of(stream)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
    await trio.lowlevel.checkpoint()
