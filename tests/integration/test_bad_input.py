"""What cannot be opened is refused with a clear text and code, and nothing that was there changes."""

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import xxhash

from dwd.adapters.brick_identity import _COPIES
from dwd.codec.page import PAGE_BYTES
from tests.integration.conftest import MakeDaemon
from tests.integration.daemon import Daemon, dwd, fingerprint, flip, wait_until
from tests.integration.mount_client import Refused

REFUSED, FAULT = 3, 4


@pytest.fixture
def stopped(daemon: Daemon) -> Daemon:
    """A volume with a few files, whose daemon was killed."""
    client = daemon.client()
    for i in range(30):
        client.store(client.make(b"%d" % i).number, 0, b"x" * 20_000)
    client.barrier()
    daemon.kill()
    return daemon


def refuses(daemon: Daemon, code: int, name: str, *words: str, options: tuple[str, ...] = ()) -> None:
    """It does not start, says why, and leaves everything as it was."""
    before = fingerprint(daemon.data)
    result = dwd("serve", "--json", "--data", daemon.data, *options, timeout_s=15)
    assert result.code == code, (result.out, result.err)
    assert result.error["code"] == name
    for word in words:
        assert word in str(result.error["message"]), result.error
    assert result.error["remedy"]
    assert fingerprint(daemon.data) == before


def still_works(daemon: Daemon) -> None:
    """It starts, and everything is there."""
    daemon.start()
    client = daemon.client()
    for i in range(30):
        inode = client.lookup(b"%d" % i)
        assert inode is not None
        assert client.read_all(inode.number) == b"x" * 20_000
    daemon.assert_sound()


def test_a_folder_with_other_things_is_left_alone(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """Not even a lock is put there."""
    data = tmp_path / "photos"
    data.mkdir()
    (data / "beach.jpg").write_bytes(b"sand")
    refuses(make_daemon(data=data), REFUSED, "volume-mismatch", "beach.jpg")


def test_a_volume_without_its_identity_is_not_made_anew(stopped: Daemon) -> None:
    """A lost identity file is no reason to begin from nothing."""
    kept = (stopped.data / "identity").read_bytes()
    (stopped.data / "identity").unlink()
    refuses(stopped, REFUSED, "volume-mismatch", "wal")
    shutil.rmtree(stopped.data / "store")
    shutil.rmtree(stopped.data / "wal")
    refuses(stopped, REFUSED, "volume-mismatch", "not empty")
    assert kept


def test_what_must_exist_is_not_made(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """With --existing an empty folder stays empty: whoever restarts a daemon wants its volume, and no other."""
    data = tmp_path / "emptied"
    data.mkdir()
    refuses(make_daemon(data=data), FAULT, "corrupt-store", "no volume", options=("--existing", "--bricks", "6"))
    assert not list(data.iterdir())


def test_settings_that_cannot_be_make_nothing(tmp_path: Path) -> None:
    """Too few bricks for the protection, nonsense for it: there is no folder afterwards."""
    data = tmp_path / "new"
    for options, name in (
        (("--bricks", "5", "--protection", "4+2"), "bad-config"),
        (("--protection", "17"), "bad-config"),
        (("--bricks", "0"), "bad-config"),
        (("--brick", tmp_path / "b", "--brick", tmp_path / "b"), "bad-config"),
    ):
        result = dwd("serve", "--json", "--data", data, *options)
        assert result.code == REFUSED, result
        assert result.error["code"] == name
        assert not data.exists()
        assert not (tmp_path / "b").exists()


def test_a_brick_folder_that_is_not_empty_makes_nothing(tmp_path: Path) -> None:
    """Afterwards the same command with the right folder works."""
    bricks = [tmp_path / f"b{i}" for i in range(3)]
    bricks[2].mkdir()
    (bricks[2] / "thesis.tex").write_bytes(b"mine")
    options = [word for brick in bricks for word in ("--brick", brick)]
    result = dwd("serve", "--json", "--data", tmp_path / "data", *options)
    assert (result.code, result.error["code"]) == (REFUSED, "volume-mismatch")
    assert not (tmp_path / "data").exists()
    assert not bricks[0].exists()
    assert [path.name for path in bricks[2].iterdir()] == ["thesis.tex"]


def test_a_volume_is_not_opened_as_another(stopped: Daemon) -> None:
    """Other protection, other number of bricks, other folders."""
    refuses(stopped, REFUSED, "bad-config", "4+2", options=("--protection", "Replica2"))
    refuses(stopped, REFUSED, "bad-config", "6 bricks", options=("--bricks", "7"))
    refuses(stopped, REFUSED, "bad-config", "other bricks", options=("--brick", "/nowhere"))
    still_works(stopped)


def test_a_second_daemon_is_refused_while_the_first_goes_on(daemon: Daemon) -> None:
    """The folder has one owner."""
    client = daemon.client()
    result = dwd("serve", "--json", "--data", daemon.data)
    assert (result.code, result.error["code"]) == (REFUSED, "data-busy")
    assert client.make(b"f").size == 0


def test_it_starts_without_bricks(stopped: Daemon) -> None:
    """As many as may be lost, and more: status names them and what it means; what cannot be read fails with EIO."""
    for index in (1, 4):
        stopped.brick(index).rename(stopped.data.parent / f"away{index}")
    stopped.start()
    status = json.loads(dwd("status", "--json", "--data", stopped.data).out)
    assert [brick["id"] for brick in status["bricks"] if brick["state"] == "missing"] == [2, 5]
    assert status["state"] == "degraded"
    wait_until(lambda: len(problems(stopped)) == 5)  # once healing has looked at all segments
    assert [problem.split(maxsplit=2)[:2] for problem in problems(stopped)] == [
        ["brick", "2"],
        ["brick", "5"],
        ["what", "is"],  # written gets less
        ["30", "segments"],  # have no margin
        ["30", "segments"],  # are below their protection
    ]
    assert len(stopped.shards()) == 30 * 4  # they may come back: nothing is built anew yet
    client = stopped.client()
    inode = client.lookup(b"3")
    assert inode is not None
    assert client.read_all(inode.number) == b"x" * 20_000
    stopped.kill()
    stopped.brick(5).rename(stopped.data.parent / "away5")
    stopped.start()
    client = stopped.client()
    with pytest.raises(Refused, match="segment-lost 5"):
        client.read_all(inode.number)
    wait_until(lambda: any(problem.startswith("30 segments cannot be read") for problem in problems(stopped)))
    stopped.kill()
    for index in (1, 4, 5):
        (stopped.data.parent / f"away{index}").rename(stopped.brick(index))
    still_works(stopped)


def problems(daemon: Daemon) -> list[str]:
    """What its status names."""
    found = json.loads(dwd("status", "--json", "--data", daemon.data).out)["problems"]
    assert isinstance(found, list)
    return found


def test_swapped_bricks_are_noticed(stopped: Daemon) -> None:
    """Two disks mounted the wrong way round: each is taken for what it says, aloud, and every byte is there."""
    other = stopped.data.parent / "swap"
    stopped.brick(0).rename(other)
    stopped.brick(1).rename(stopped.brick(0))
    other.rename(stopped.brick(1))
    still_works(stopped)
    assert "have changed places" in stopped.log()


@pytest.mark.mount
def test_it_starts_without_a_read_only_brick(stopped: Daemon) -> None:
    """A disk that the kernel has remounted read-only counts as missing."""
    brick = stopped.brick(2)
    subprocess.run(["mount", "--bind", brick, brick], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", brick], check=True)
        stopped.start()
        assert f"brick {brick}" in stopped.log()
        assert "Read-only" in stopped.log()
        stopped.kill()
    finally:
        subprocess.run(["umount", brick], check=True)
    still_works(stopped)


def newer_page(path: Path, version_at: int) -> None:
    """Raise the version in a page, and seal it again."""
    page = bytearray(path.read_bytes()[:PAGE_BYTES])
    struct.pack_into("<I", page, version_at, 99)
    struct.pack_into("<Q", page, PAGE_BYTES - 8, xxhash.xxh3_64_intdigest(bytes(page[:-8])))
    with path.open("r+b") as file:
        file.write(page)


def newer_identity(data: Path) -> None:
    """Raise the version of DATA/identity."""
    raw = bytearray((data / "identity").read_bytes())
    struct.pack_into("<I", raw, 8, 99)
    struct.pack_into("<Q", raw, 16, xxhash.xxh3_64_intdigest(bytes(raw[:16] + raw[24:])))
    (data / "identity").write_bytes(raw)


def newer_store(data: Path) -> None:
    """Raise the user_version of the state store."""
    with (data / "store" / "namespace.db").open("r+b") as file:
        file.seek(60)
        file.write(struct.pack(">I", 99))


def newer_superblock(data: Path) -> None:
    """Raise the version of both copies on a brick."""
    for copy in _COPIES:
        newer_page(data / "bricks" / "3" / copy, 8)


def newer_wal(data: Path) -> None:
    """Raise the version of the first log file, and seal its header again."""
    path = min((data / "wal").glob("*.wal"))
    header = bytearray(path.read_bytes()[:56])
    struct.pack_into("<I", header, 8, 99)
    struct.pack_into("<Q", header, 48, xxhash.xxh3_64_intdigest(bytes(header[:48])))
    with path.open("r+b") as file:
        file.write(header)


@pytest.mark.parametrize("change", [newer_identity, newer_store, newer_superblock, newer_wal])
def test_a_newer_format_is_not_touched(stopped: Daemon, change: object) -> None:
    """Whatever file it is in."""
    assert callable(change)
    change(stopped.data)
    refuses(stopped, REFUSED, "format-too-new", "99")


def test_a_torn_tail_of_the_log_is_recovered(stopped: Daemon) -> None:
    """Garbage behind the last record, as a power cut leaves it."""
    last = max((stopped.data / "wal").glob("*.wal"))
    raw = last.read_bytes()
    end = len(raw.rstrip(b"\0"))
    with last.open("r+b") as file:
        file.seek((end + 4095) // 4096 * 4096)
        file.write(b"\xa5" * 300)
    still_works(stopped)


def test_a_damaged_record_in_the_middle_of_the_log_is_refused_with_its_place(stopped: Daemon) -> None:
    """Never skipped, never cut off: the text names the file and the byte."""
    last = max((stopped.data / "wal").glob("*.wal"))
    raw = last.read_bytes()
    records = [match.start() for match in re.finditer(rb"\xd7WALrec\n", raw)]
    record = records[len(records) // 2]
    for offset in (record + 3, record + 30, record + 70):
        flip(last, offset)
        refuses(stopped, FAULT, "corrupt-wal", str(last), f"byte {record}")
        flip(last, offset)
    still_works(stopped)


def test_a_missing_log_file_is_noticed(stopped: Daemon) -> None:
    """Without its log the state would silently go back."""
    stopped.start()
    assert stopped.stop() < 5
    for path in (stopped.data / "wal").glob("*.wal"):
        path.unlink()
    refuses(stopped, FAULT, "corrupt-wal")


def test_a_damaged_state_store_is_refused_or_found(stopped: Daemon) -> None:
    """A row that does not match its seal is never handed out: the start fails, or fsck names it."""
    stopped.start()
    assert stopped.stop() < 5
    store = stopped.data / "store" / "namespace.db"
    flip(store, store.stat().st_size - 500)
    result = stopped.fsck()
    assert result.code in {1, FAULT}
    assert "damaged-store" in result.out or "corrupt-store" in result.out
    store.write_bytes(b"this is no database")
    refuses(stopped, FAULT, "corrupt-store", str(store))
    store.unlink()
    refuses(stopped, FAULT, "corrupt-store", "missing")


def test_a_damaged_identity_is_refused(stopped: Daemon) -> None:
    """It says what to do."""
    flip(stopped.data / "identity", 40)
    refuses(stopped, FAULT, "corrupt-identity", str(stopped.data / "identity"))


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    """No folder can be made there."""
    (tmp_path / "file").write_bytes(b"")
    result = dwd("serve", "--json", "--data", tmp_path / "file")
    assert result.code in {REFUSED, FAULT}
    assert "error" in result.out


def test_fsck_of_nothing_makes_nothing(tmp_path: Path) -> None:
    """A mistyped folder is an error, and is not made."""
    result = dwd("fsck", "--data", tmp_path / "typo", "--json")
    assert result.code == FAULT
    assert not (tmp_path / "typo").exists()
    (tmp_path / "empty").mkdir()
    assert dwd("fsck", "--data", tmp_path / "empty", "--json").code == FAULT
    assert not list((tmp_path / "empty").iterdir())


def test_fsck_works_without_a_daemon(stopped: Daemon) -> None:
    """It holds the folder meanwhile, and gives the same report."""
    result = stopped.fsck()
    assert result.code == 0, result
    assert '"inodes":31' in result.out
    still_works(stopped)
