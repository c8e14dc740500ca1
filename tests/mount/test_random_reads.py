"""Random reads through a mount: the kernel is given the whole file ahead, and never a byte that has changed since."""

import ctypes
import mmap
import os
import random
import threading
import time
from pathlib import Path
from typing import Final

import pytest

from tests.mount.volume import Volume

pytestmark = pytest.mark.mount

_SIZE: Final = 8 << 20
_PAGE: Final = 4096
_ROUNDS: Final = 40


def _drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


def _read_at_random(path: Path, chance: random.Random, count: int, *, stay_s: float = 0) -> None:
    """As fio does it: the kernel is told not to read ahead. Then keep the file open for a while."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    for _ in range(count):
        os.pread(descriptor, _PAGE, chance.randrange(_SIZE // _PAGE) * _PAGE)
    time.sleep(stay_s)
    os.close(descriptor)


def _resident_pages(path: Path) -> int:
    """Pages of a file that the kernel has, by mincore(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), _SIZE, mmap.MAP_SHARED) as mapped:
        begin = ctypes.c_char.from_buffer(mapped)
        resident = ctypes.create_string_buffer(_SIZE // _PAGE)
        assert libc.mincore(ctypes.byref(begin), ctypes.c_size_t(_SIZE), resident) == 0, ctypes.get_errno()
        del begin
    return sum(byte & 1 for byte in resident.raw)


def test_a_file_read_at_random_comes_whole_into_the_page_cache(volume: Volume) -> None:
    """After some dozens of page reads the kernel has its pages, and they are right."""
    chance = random.Random(1)
    content = chance.randbytes(_SIZE)
    path = volume.path / "file"
    path.write_bytes(content)
    volume.remount()
    _drop_caches()
    _read_at_random(path, chance, 100, stay_s=3)
    assert _resident_pages(path) > 0.9 * (_SIZE // _PAGE)  # the kernel may take some back; the reads alone bring 5 %
    assert path.read_bytes() == content


def test_what_changes_while_it_is_given_is_read_as_changed(volume: Volume) -> None:
    """Overwritten, cut, and grown again between and during random reads: every byte is the newest."""
    chance = random.Random(2)
    shadow = bytearray(chance.randbytes(_SIZE))
    path = volume.path / "file"
    path.write_bytes(shadow)
    over = threading.Event()

    def keep_reading() -> None:
        mine = random.Random(3)
        while not over.is_set():
            _read_at_random(path, mine, 64)

    readers = [threading.Thread(target=keep_reading) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for step in range(_ROUNDS):
            _drop_caches()
            _change(path, shadow, chance, step)
            for _ in range(64):
                place = chance.randrange(_SIZE)
                with path.open("rb", buffering=0) as file:
                    assert os.pread(file.fileno(), _PAGE, place) == shadow[place : place + _PAGE], (step, place)
        assert path.read_bytes() == shadow
    finally:
        over.set()
        for reader in readers:
            reader.join()
    volume.remount()
    assert path.read_bytes() == shadow


def _change(path: Path, shadow: bytearray, chance: random.Random, step: int) -> None:
    """By a descriptor, or by name."""
    if step % 4 == 3:
        size = chance.randrange(_SIZE // 2, _SIZE)
        os.truncate(path, size)
        os.truncate(path, _SIZE)
        shadow[size:] = bytes(_SIZE - size)
        return
    with path.open("r+b", buffering=0) as file:
        for _ in range(8):
            place, data = chance.randrange(_SIZE - 70_000), chance.randbytes(chance.randrange(1, 70_000))
            file.seek(place)
            file.write(data)
            shadow[place : place + len(data)] = data
        if step % 4 == 1:
            os.fsync(file.fileno())
