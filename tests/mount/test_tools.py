"""Ordinary tools on a mount: what they write they read back, and so does everybody else."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.mount.volume import Volume, environment, run, wait_until

pytestmark = pytest.mark.mount

MIB = 1 << 20
_LARGE_GIB = int(os.environ.get("DWFS_TEST_LARGE_GIB", "1"))
_GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}
_COUNT_PROGRAM = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None) as connection:
    for number in range(int(sys.argv[2])):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE counter SET value = value + 1")
        connection.execute("INSERT INTO line VALUES (?, ?)", (sys.argv[3], "x" * (number * 37 % 5000)))
        connection.execute("COMMIT")
connection.close()
"""


def _git(folder: Path, *words: str) -> str:
    return run("git", "-C", folder, *words, env=environment() | _GIT).stdout


def test_python_library_by_tar_and_rsync(volume: Volume) -> None:
    """The Python library, about 2,000 files: unpacked by tar, out and back by rsync -aHAX, the same by diff -r."""
    library = Path(sysconfig.get_paths()["stdlib"])
    source, archive, out = volume.root / "source", volume.root / "library.tar", volume.root / "out"
    shutil.copytree(
        library, source, symlinks=True, ignore=shutil.ignore_patterns("site-packages", "*.so", "__pycache__")
    )
    count = sum(len(files) for _, _, files in os.walk(source))
    assert count > 600
    run("tar", "-C", source, "-cf", archive, ".")
    unpacked, back = volume.path / "unpacked", volume.path / "back"
    unpacked.mkdir()
    run("tar", "-C", unpacked, "-xf", archive)
    run("diff", "-r", "--no-dereference", source, unpacked)
    run("rsync", "-aHAX", f"{unpacked}/", f"{out}/")
    run("diff", "-r", "--no-dereference", source, out)
    run("rsync", "-aHAX", f"{out}/", f"{back}/")
    volume.remount()
    run("diff", "-r", "--no-dereference", source, back)
    assert not run("rsync", "-aHAXn", "--checksum", "--itemize-changes", f"{out}/", f"{back}/").stdout
    assert not run("rsync", "-aHAXn", "--checksum", "--itemize-changes", f"{source}/", f"{unpacked}/").stdout
    volume.assert_sound()


def test_git(shared: Volume, folder: Path) -> None:
    """Clone, commit, fsck and gc; the repository is whole after each."""
    origin = shared.root / "origin"
    shutil.copytree(Path(sysconfig.get_paths()["stdlib"]) / "json", origin / "json")
    _git(shared.root, "init", "-q", str(origin))
    _git(origin, "add", ".")
    _git(origin, "commit", "-qm", "first")
    clone = folder / "clone"
    _git(folder, "clone", "-q", str(origin), str(clone))
    for number in range(5):
        (clone / f"new{number}").write_text("line\n" * 1000 * number, encoding="ascii")
        _git(clone, "add", ".")
        _git(clone, "commit", "-qm", f"change {number}")
    _git(clone, "mv", "json", "renamed")
    _git(clone, "commit", "-qm", "moved")
    assert not _git(clone, "status", "--porcelain")
    assert "dangling" not in _git(clone, "fsck", "--full", "--strict")
    _git(clone, "gc", "-q", "--prune=now")
    _git(clone, "fsck", "--full", "--strict")
    assert len(_git(clone, "log", "--format=%H").split()) == 7
    run("diff", "-r", origin / "json", clone / "renamed")


def test_c_program_by_make(folder: Path) -> None:
    """A program of three files is built; make finds nothing to do; one change makes one object anew."""
    (folder / "say.h").write_text("int say(const char *);\n", encoding="ascii")
    (folder / "say.c").write_text(
        '#include <stdio.h>\n#include "say.h"\nint say(const char *s) { return puts(s); }\n', encoding="ascii"
    )
    (folder / "main.c").write_text('#include "say.h"\nint main(void) { return say("built") < 0; }\n', encoding="ascii")
    (folder / "Makefile").write_text(
        "prog: main.o say.o\n\tcc -o $@ $^\n%.o: %.c say.h\n\tcc -c -O1 -o $@ $<\n", encoding="ascii"
    )
    run("make", "-j2", "-C", folder)
    assert run(folder / "prog").stdout == "built\n"
    run("make", "-q", "-C", folder)
    (folder / "say.c").write_text((folder / "say.c").read_text(encoding="ascii") + "/* more */\n", encoding="ascii")
    said = run("make", "-C", folder).stdout
    assert "say.c" in said
    assert "main.c" not in said
    assert run(folder / "prog").stdout == "built\n"


@pytest.mark.parametrize("journal", ["WAL", "DELETE", "TRUNCATE", "PERSIST"])
def test_sqlite_by_several_processes(journal: str, folder: Path) -> None:
    """Three processes count in one database, in each kind of journal: none is lost, and it stays whole."""
    path = folder / "count.db"
    with sqlite3.connect(path) as connection:
        assert connection.execute(f"PRAGMA journal_mode={journal}").fetchone()[0] == journal.lower()
        connection.executescript(
            "CREATE TABLE counter (value); INSERT INTO counter VALUES (0); CREATE TABLE line (a, b)"
        )
    connection.close()
    argv = [sys.executable, "-c", _COUNT_PROGRAM, str(path), "40"]
    counters = [subprocess.Popen([*argv, str(number)]) for number in range(3)]
    assert [counter.wait(120) for counter in counters] == [0, 0, 0]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT value FROM counter").fetchone() == (120,)
    assert connection.execute("SELECT count(*) FROM line").fetchone() == (120,)
    connection.execute("VACUUM")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest.mark.slow
def test_large_file_by_sha256(volume: Volume) -> None:
    """A file of DWFS_TEST_LARGE_GIB (1) reads back by its sha256, warm, copied, and after a remount."""
    path = volume.path / "large"
    base, digest = bytearray(os.urandom(4 * MIB)), hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for number in range(_LARGE_GIB * 256):
            base[:8] = number.to_bytes(8, "big")
            digest.update(base)
            assert file.write(base) == len(base)
        os.fsync(file.fileno())
    expected = digest.hexdigest()
    assert run("sha256sum", path).stdout.split()[0] == expected
    volume.remount()
    path = volume.path / "large"
    assert path.stat().st_size == _LARGE_GIB << 30
    assert path.stat().st_blocks * 512 == _LARGE_GIB << 30
    assert run("sha256sum", path).stdout.split()[0] == expected
    path.unlink()
    wait_until(lambda: volume.ask("status")["segments"]["live"] == 0, "its segments are dead")


def test_cp_sparse(shared: Volume, folder: Path) -> None:
    """Cp --sparse=always keeps the bytes and leaves holes where zeros were."""
    source = shared.root / "holes"
    with source.open("wb") as file:
        for at in (0, 3 * MIB, 17 * MIB):
            file.seek(at)
            file.write(os.urandom(100_000))
        file.truncate(20 * MIB)
    copy, again = folder / "copy", folder / "again"
    run("cp", "--sparse=always", source, copy)
    run("cmp", source, copy)
    assert copy.stat().st_size == 20 * MIB
    assert copy.stat().st_blocks * 512 < MIB
    run("cp", "--sparse=always", copy, again)
    run("cmp", source, again)
    assert again.stat().st_blocks * 512 < 5 * MIB  # cp looks for zeros in blocks of st_blksize


def test_cp_a_keeps_everything(shared: Volume, folder: Path) -> None:
    """Cp -a out and back keeps hard links, xattrs, ACLs, modes, owners and times to the nanosecond."""
    first = folder / "first"
    first.mkdir()
    (first / "file").write_bytes(b"content")
    os.link(first / "file", first / "same")
    (first / "link").symlink_to("file")
    os.setxattr(first / "file", b"user.text", b"value \x00\xff")
    os.setxattr(first / "file", b"user.empty", b"")
    os.chown(first / "file", 1234, 5678)
    (first / "file").chmod(0o640)
    run("setfacl", "-m", "u:4321:rw,g:8765:r", first / "file")
    run("setfacl", "-d", "-m", "u:4321:rwx", first)
    os.utime(first / "file", ns=(1_111_111_111_123_456_789, 1_222_222_222_987_654_321))
    outside, back = shared.root / "outside", folder / "back"
    run("cp", "-a", first, outside)
    run("cp", "-a", outside, back)
    for copy in (outside, back):
        names = ("file", "same")
        assert len({(copy / name).stat().st_ino for name in names}) == 1
        found = (copy / "file").stat()
        assert (found.st_nlink, found.st_uid, found.st_gid) == (2, 1234, 5678)
        assert (found.st_mode, found.st_mtime_ns) == ((first / "file").stat().st_mode, 1_222_222_222_987_654_321)
        assert os.readlink(copy / "link") == "file"
        assert os.getxattr(copy / "file", b"user.text") == b"value \x00\xff"
        assert os.getxattr(copy / "file", b"user.empty") == b""
        for name in ("file", "."):
            acls = [run("getfacl", "-cpn", base / name).stdout for base in (first, copy)]
            assert acls[0] == acls[1]
            assert "4321" in acls[0]
    made = back / "made"
    made.touch()
    assert "user:4321:rwx" in run("getfacl", "-cpn", made).stdout, "the default ACL is inherited"
