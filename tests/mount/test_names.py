"""Names and directories: names are bytes, and a listing is complete while the directory changes."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.volume import Volume, run, wait_until

pytestmark = pytest.mark.mount

_NEIGHBOURS_PROGRAM = """
import os, sys
folder, number = sys.argv[1], 0
while not os.path.exists(folder + "/stop"):
    number += 1
    for name in (f"come-{number}", f"longer-{'n' * (number % 200)}-{number}"):
        os.close(os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY))
    if number > 20:
        os.unlink(f"{folder}/come-{number - 20}")
        os.rename(f"{folder}/longer-{'n' * ((number - 20) % 200)}-{number - 20}", f"{folder}/moved-{number % 50}")
"""


def _make(folder: Path, name: bytes) -> None:
    with open(os.fsencode(folder) + b"/" + name, "wb") as file:
        file.write(name)


def _read(folder: Path, name: bytes) -> bytes:
    with open(os.fsencode(folder) + b"/" + name, "rb") as file:
        return file.read()


def test_every_byte_in_names(shared: Volume, folder: Path) -> None:
    """All 253 bytes that may be a name, one with all 254 that may be in one, newlines, and what is not UTF-8."""
    allowed = [byte for byte in range(1, 256) if byte != ord("/")]
    names = [bytes([byte]) for byte in allowed if byte != ord(".")]
    assert len(names) == 253
    names += [bytes(allowed), b"line\nbreak", b"caf\xe9", b"\xff\xfe", b" ", b"...", b"-rf", b"*", "zażółć".encode()]
    names = sorted(set(names))
    for name in names:
        _make(folder, name)
    assert sorted(os.listdir(os.fsencode(folder))) == names
    assert [_read(folder, name) for name in names] == names
    target = shared.root / "copy"
    run("cp", "-a", folder, target)
    assert sorted(os.listdir(os.fsencode(target))) == names
    for name in names:
        os.unlink(os.fsencode(folder) + b"/" + name)
    assert os.listdir(folder) == []


def test_lengths_of_names(folder: Path) -> None:
    """255 bytes are a name, 256 are ENAMETOOLONG, for every call that takes a name; a target has up to 4,095."""
    longest, longer = b"n" * 255, b"n" * 256
    _make(folder, longest)
    assert _read(folder, longest) == longest
    base = os.fsencode(folder) + b"/"
    calls: list[Callable[[], object]] = [
        lambda: os.open(base + longer, os.O_CREAT | os.O_WRONLY),
        lambda: os.stat(base + longer),
        lambda: os.mkdir(base + longer),
        lambda: os.rename(base + longest, base + longer),
        lambda: os.link(base + longest, base + longer),
        lambda: os.symlink(b"x", base + longer),
        lambda: os.mkfifo(base + longer),
        lambda: os.unlink(base + longer),
        lambda: os.rmdir(base + longer),
        lambda: os.symlink(b"t" * 4096, base + b"link"),
    ]
    for call in calls:
        with pytest.raises(OSError, match="File name too long") as raised:
            call()
        assert raised.value.errno == errno.ENAMETOOLONG
    os.symlink(b"t" * 4095, base + b"link")
    assert os.readlink(base + b"link") == b"t" * 4095
    assert sorted(os.listdir(base)) == [b"link", longest]


def test_listing_while_names_come_and_go(folder: Path) -> None:
    """What is there throughout a listing is in it exactly once, whatever else comes and goes."""
    expected = {f"stays-{number:04}" for number in range(3000)}
    for name in expected:
        (folder / name).touch()
    restless = subprocess.Popen([sys.executable, "-c", _NEIGHBOURS_PROGRAM, str(folder)])
    seen_others = 0
    try:
        wait_until(lambda: len(os.listdir(folder)) > 3000, "the neighbour makes files")
        for _ in range(15):
            names = os.listdir(folder)
            stayed = [name for name in names if name.startswith("stays-")]
            assert len(stayed) == 3000
            assert set(stayed) == expected
            seen_others += len(names) - 3000
        assert restless.poll() is None, "it was busy all the time"
    finally:
        (folder / "stop").touch()
        restless.wait(30)
    assert restless.returncode == 0
    assert seen_others > 0


def test_removing_while_listing(folder: Path) -> None:
    """Rm -r of 5,000 entries removes each, though the listing goes on while entries go."""
    tree = folder / "tree"
    tree.mkdir()
    for number in range(5000):
        (tree / f"{number:x}").touch()
    run("rm", "-r", tree)
    assert not tree.exists()


def test_seeking_in_a_directory(folder: Path) -> None:
    """Two scans of one directory do not disturb each other, and a new scan sees what is new."""
    for number in range(500):
        (folder / f"{number}").touch()
    with os.scandir(folder) as one, os.scandir(folder) as two:
        first = [next(one).name for _ in range(100)]
        whole = sorted(entry.name for entry in two)
        rest = [entry.name for entry in one]
    assert sorted(first + rest) == whole
    assert len(set(whole)) == 500
    (folder / "new").touch()
    assert "new" in os.listdir(folder)


def test_deep_tree(folder: Path) -> None:
    """A tree 200 levels deep, its path longer than PATH_MAX, is made, walked and removed."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(200):
        name = f"a-directory-with-a-long-name-{number}"
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    with open(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at), "wb") as file:
        file.write(b"bottom")
    os.close(at)
    found = run("find", ".", "-name", "file", cwd=folder).stdout
    assert found.count("/") == 201
    assert len(found) > 4096
    run("rm", "-r", "a-directory-with-a-long-name-0", cwd=folder)
    assert os.listdir(folder) == []
