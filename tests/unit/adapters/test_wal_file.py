"""The log on a real disk: what a crash may leave, and what must be refused."""

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwd.adapters.wal_file import FILL_BYTES, FileWal, open_wal
from dwd.codec.wal_frame import PAGE_BYTES, RECORD_HEADER_BYTES, framed_length
from dwd.model.checks import InvariantViolated
from dwd.model.errors import CorruptWal, NoSpace, VolumeMismatch, WalFault
from dwd.model.ids import VolumeId
from dwd.model.limits import WAL_FILE_BYTES, WAL_RECORD_BYTES_MAX

VOLUME = VolumeId(b"v" * 16)
BIG = bytes(range(1, 251)) * 20_000  # 5 MB: three fit in a file


def reopened(directory: Path) -> tuple[FileWal, list[tuple[int, bytes]]]:
    """Open the log and read all of it."""
    wal, records = open_wal(directory, VOLUME)
    return wal, list(records)


def file(directory: Path, number: int = 1) -> Path:
    """The path of a log file."""
    return directory / f"{number:016d}.wal"


def test_appended_records_are_there_without_close_or_sync(tmp_path: Path) -> None:
    """What append returned for survives the death of the process: it is in the file."""
    wal, records = open_wal(tmp_path / "wal", VOLUME)
    assert list(records) == []
    for payload in (b"a", b"", b"c" * 9000):
        wal.append(payload)
    assert (wal.appended_sequence, wal.synced_sequence) == (3, 0)
    again, found = reopened(tmp_path / "wal")
    assert found == [(1, b"a"), (2, b""), (3, b"c" * 9000)]
    assert (again.appended_sequence, again.synced_sequence) == (3, 3)


def test_no_acknowledged_page_is_written_again(tmp_path: Path) -> None:
    """After a sync, and after opening, the next record begins on a new page."""
    wal, _ = open_wal(tmp_path, VOLUME)
    wal.append(b"one")
    wal.sync()
    assert wal.synced_sequence == 1
    before = file(tmp_path).read_bytes()[: 2 * PAGE_BYTES]
    wal.append(b"two")
    wal.append(b"three")
    reopened(tmp_path)[0].append(b"four")
    data = file(tmp_path).read_bytes()
    assert data[: 2 * PAGE_BYTES] == before
    assert data[2 * PAGE_BYTES + RECORD_HEADER_BYTES :].startswith(b"two")
    assert data[3 * PAGE_BYTES + RECORD_HEADER_BYTES :].startswith(b"four")


def test_append_while_a_sync_is_in_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record appended during a sync is not counted as synced and lies on another page."""
    wal, _ = open_wal(tmp_path, VOLUME)
    wal.append(b"one")
    entered, leave = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        entered.set()
        assert leave.wait(5)
        os.fsync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    syncing = threading.Thread(target=wal.sync)
    syncing.start()
    assert entered.wait(5)
    wal.append(b"two")
    leave.set()
    syncing.join()
    assert (wal.synced_sequence, wal.appended_sequence) == (1, 2)
    assert file(tmp_path).read_bytes()[2 * PAGE_BYTES + RECORD_HEADER_BYTES :].startswith(b"two")


def test_log_goes_on_in_the_next_file_and_forgets_from_the_front(tmp_path: Path) -> None:
    """Records cross files in order; forgetting deletes whole files that lie before the position, never more."""
    wal, _ = open_wal(tmp_path, VOLUME)
    for n in range(8):
        wal.append(BIG + bytes([n]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [file(tmp_path, n).name for n in (1, 2, 3)]
    assert all(path.stat().st_size <= WAL_FILE_BYTES for path in tmp_path.iterdir())
    assert wal.synced_sequence == 6  # a file that is left is durable before the next gets its name
    wal.forget_before(6)
    assert [payload[-1] for _, payload in reopened(tmp_path)[1]] == [3, 4, 5, 6, 7]
    wal.forget_before(100)
    wal.append(b"more")
    found = reopened(tmp_path)[1]
    assert [sequence for sequence, _ in found] == [7, 8, 9]


def test_largest_record_fits_and_a_larger_one_is_a_bug(tmp_path: Path) -> None:
    """The bound of a record is the one in limits.py."""
    wal, _ = open_wal(tmp_path, VOLUME)
    wal.append(bytes(WAL_RECORD_BYTES_MAX))
    assert len(reopened(tmp_path)[1][0][1]) == WAL_RECORD_BYTES_MAX
    with pytest.raises(InvariantViolated, match="W1"):
        wal.append(bytes(WAL_RECORD_BYTES_MAX + 1))


def test_torn_tail_is_zeroed_and_the_log_goes_on(tmp_path: Path) -> None:
    """Cut at any byte of the last two records: every whole record is there, and what is appended then is found."""
    wal, _ = open_wal(tmp_path / "wal", VOLUME)
    for payload in (b"first", b"second" * 4, b"third" * 5):
        wal.append(payload)
    data = file(tmp_path / "wal").read_bytes()
    start = PAGE_BYTES + framed_length(5)
    end = start + framed_length(24) + framed_length(25)
    for cut in range(start, end, 3):
        file(tmp_path / "wal").write_bytes(data[:cut])
        again, found = reopened(tmp_path / "wal")
        expected = [b"first", b"second" * 4, b"third" * 5][: len(found)]
        assert [payload for _, payload in found] == expected
        assert len(found) >= 1 + (cut >= start + framed_length(24))
        again.append(b"new")
        assert [payload for _, payload in reopened(tmp_path / "wal")[1]] == [*expected, b"new"]


def test_remains_of_a_torn_tail_never_come_back(tmp_path: Path) -> None:
    """A later record of an abandoned tail is gone for good, also after its sequence number is used again."""
    wal, _ = open_wal(tmp_path, VOLUME)
    for payload in (b"kept", b"x" * 5000, b"y" * 5000):
        wal.append(payload)
    with file(tmp_path).open("r+b") as stream:  # the page with the head of the second record was never written out
        stream.seek(PAGE_BYTES + framed_length(4))
        stream.write(bytes(PAGE_BYTES - framed_length(4)))
    again, found = reopened(tmp_path)
    assert found == [(1, b"kept")]
    again.append(b"z" * 4000)
    assert reopened(tmp_path)[1] == [(1, b"kept"), (2, b"z" * 4000)]


def test_flipped_byte_in_the_middle_names_file_and_byte(tmp_path: Path) -> None:
    """Damage before other records is refused, with the position, and nothing is changed."""
    wal, _ = open_wal(tmp_path, VOLUME)
    for payload in (b"first", b"second", b"third"):
        wal.append(payload)
    at = PAGE_BYTES + framed_length(5)
    data = bytearray(file(tmp_path).read_bytes())
    data[at + RECORD_HEADER_BYTES + 2] ^= 1
    file(tmp_path).write_bytes(data)
    with pytest.raises(CorruptWal, match=rf"{file(tmp_path)}: byte {at}: record 2 "):
        open_wal(tmp_path, VOLUME)
    assert file(tmp_path).read_bytes() == data


def test_bad_end_of_a_file_that_others_follow_is_damage(tmp_path: Path) -> None:
    """Only the last file can have a torn tail."""
    wal, _ = open_wal(tmp_path, VOLUME)
    for _ in range(4):
        wal.append(BIG)
    os.truncate(file(tmp_path), file(tmp_path).stat().st_size - 3_000_000)
    with pytest.raises(CorruptWal, match=rf"{file(tmp_path)}: byte \d+: record 3 "):
        open_wal(tmp_path, VOLUME)


def test_missing_file_and_swapped_file_are_damage(tmp_path: Path) -> None:
    """A hole in the order of files is not passed over."""
    wal, _ = open_wal(tmp_path, VOLUME)
    for _ in range(7):
        wal.append(BIG)
    middle = file(tmp_path, 2).read_bytes()
    file(tmp_path, 2).unlink()
    with pytest.raises(CorruptWal, match=r"0002\.wal, is missing"):
        open_wal(tmp_path, VOLUME)
    file(tmp_path, 2).write_bytes(file(tmp_path, 1).read_bytes())
    with pytest.raises(CorruptWal, match=r"0002\.wal: byte 0"):
        open_wal(tmp_path, VOLUME)
    file(tmp_path, 2).write_bytes(middle)
    assert len(reopened(tmp_path)[1]) == 7


def test_log_of_another_volume_is_refused(tmp_path: Path) -> None:
    """The volume in the file header is compared."""
    open_wal(tmp_path, VOLUME)
    with pytest.raises(VolumeMismatch):
        open_wal(tmp_path, VolumeId(b"w" * 16))


def test_file_whose_making_a_crash_interrupted_is_forgotten(tmp_path: Path) -> None:
    """A file without its name holds nothing."""
    wal, _ = open_wal(tmp_path, VOLUME)
    wal.append(b"one")
    (tmp_path / "next.tmp").write_bytes(b"half a header")
    assert reopened(tmp_path)[1] == [(1, b"one")]
    assert not (tmp_path / "next.tmp").exists()


def test_full_disk_refuses_the_record_and_keeps_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC is met while filling with zeros: the record is refused whole, and later ones go on."""
    wal, _ = open_wal(tmp_path, VOLUME)
    wal.append(b"one")
    real = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset >= FILL_BYTES:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoSpace):
        wal.append(bytes(FILL_BYTES))
    wal.append(b"small enough")
    monkeypatch.undo()
    wal.append(bytes(FILL_BYTES))
    assert [len(payload) for _, payload in reopened(tmp_path)[1]] == [3, 12, FILL_BYTES]


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_failed_write_or_sync_ends_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """An I/O error is never tried again: the second sync would report success for data that is gone."""
    wal, _ = open_wal(tmp_path, VOLUME)
    wal.append(b"one")

    def failing(*_: object) -> int:
        raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(WalFault):
        wal.append(b"two") if call == "pwrite" else wal.sync()
    monkeypatch.undo()
    for again in (wal.sync, lambda: wal.append(b"three")):
        with pytest.raises(WalFault, match="has failed before"):
            again()


STEPS = st.lists(st.one_of(st.binary(max_size=300), st.just("sync"), st.just("reopen")), max_size=25)


@given(steps=STEPS)
@settings(derandomize=True, max_examples=20, deadline=None)
def test_any_mix_of_appends_syncs_and_restarts(
    steps: list[bytes | str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the order of appends, syncs and restarts, the log holds what was appended."""
    directory = tmp_path_factory.mktemp("wal")
    wal, _ = open_wal(directory, VOLUME)
    expected = []
    for step in steps:
        if step == "sync":
            wal.sync()
        elif step == "reopen":
            wal, _ = open_wal(directory, VOLUME)
        elif isinstance(step, bytes):
            wal.append(step)
            expected.append(step)
    assert reopened(directory)[1] == list(enumerate(expected, 1))
