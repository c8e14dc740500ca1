"""Two mounts of one volume: what one wrote and closed the other sees when it looks, in both directions."""

import os
from pathlib import Path

import pytest

from tests.mount.volume import Volume

pytestmark = pytest.mark.mount

MIB = 1 << 20
Pair = tuple[Path, Path]


@pytest.fixture(name="pair", scope="module")
def mount_twice(shared: Volume) -> Pair:
    """Both mounts; the first has had the volume alone, and holds unsent bytes when the second comes."""
    (shared.path / "before").write_bytes(b"early" * 1000)
    return shared.path, shared.mount(at="second")


@pytest.fixture(name="both")
def in_a_folder(pair: Pair, folder: Path) -> list[Pair]:
    """Each direction, in an empty folder."""
    first, second = (path / folder.name for path in pair)
    return [(first, second), (second, first)]


def test_what_was_written_alone_is_seen_by_the_second(pair: Pair) -> None:
    """Bytes that the first mount had not sent when the second came are there."""
    assert (pair[1] / "before").read_bytes() == b"early" * 1000


def test_create_write_close(both: list[Pair]) -> None:
    """A new file, an overwritten one of the same size, a longer and a shorter one."""
    for here, there in both:
        for number in range(20):
            name = f"file{number}"
            for content in (os.urandom(5000), os.urandom(5000), os.urandom(3 * MIB), b"short", b""):
                (here / name).write_bytes(content)
                assert (there / name).read_bytes() == content
                assert (there / name).stat().st_size == len(content)


def test_names(both: list[Pair]) -> None:
    """Made, renamed, replaced, linked and removed names are seen at once, as are modes and xattrs."""
    for here, there in both:
        assert not (there / "dir").exists()
        (here / "dir").mkdir()
        assert os.listdir(there / "dir") == []
        (here / "dir" / "one").write_bytes(b"1")
        (here / "dir" / "two").write_bytes(b"2")
        assert sorted(os.listdir(there / "dir")) == ["one", "two"]
        (here / "dir" / "one").rename(here / "dir" / "two")
        assert os.listdir(there / "dir") == ["two"]
        assert (there / "dir" / "two").read_bytes() == b"1"
        os.link(here / "dir" / "two", here / "dir" / "linked")
        assert (there / "dir" / "two").stat().st_nlink == 2
        (here / "dir" / "two").chmod(0o600)
        assert (there / "dir" / "two").stat().st_mode & 0o777 == 0o600
        os.setxattr(here / "dir" / "two", "user.x", b"y")
        assert os.getxattr(there / "dir" / "linked", "user.x") == b"y"
        (here / "dir" / "two").unlink()
        (here / "dir" / "linked").unlink()
        assert not (there / "dir" / "two").exists()
        (there / "dir").rmdir()
        assert not (here / "dir").exists()


def test_file_that_the_other_holds_open(both: list[Pair]) -> None:
    """An open descriptor sees what the other mount appended and closed."""
    for here, there in both:
        (here / "log").write_bytes(b"first\n")
        with (there / "log").open("rb", buffering=0) as reading:
            assert reading.read() == b"first\n"
            for number in range(10):
                with (here / "log").open("ab") as writing:
                    writing.write(f"line {number}\n".encode())
                assert reading.read() == f"line {number}\n".encode()
        (here / "log").unlink()


def test_unlinked_by_one_and_open_at_the_other(both: list[Pair]) -> None:
    """A file lives for who has it open, although another mount removed it."""
    for here, there in both:
        content = os.urandom(MIB)
        (here / "file").write_bytes(content)
        with (there / "file").open("r+b", buffering=0) as file:
            (here / "file").unlink()
            assert not (there / "file").exists()
            assert file.read() == content
            file.write(b"more")
            os.fsync(file.fileno())
            assert os.pread(file.fileno(), 2 * MIB, 0) == content + b"more"


def test_exclusive_creation(both: list[Pair]) -> None:
    """O_EXCL succeeds at one of them; mkdir as a lock works across mounts."""
    for here, there in both:
        for number in range(50):
            os.close(os.open(here / f"x{number}", os.O_CREAT | os.O_EXCL))
            with pytest.raises(FileExistsError):
                os.open(there / f"x{number}", os.O_CREAT | os.O_EXCL)
            os.unlink(there / f"x{number}")
            assert not (here / f"x{number}").exists()


def test_one_leaves_and_the_other_goes_on(volume: Volume) -> None:
    """When one unmounts, the other is alone again; over a kill of the daemon both go on."""
    second = volume.mount(at="second")
    (second / "file").write_bytes(b"from the second")
    killed = volume.kill_daemon()
    assert (volume.path / "file").read_bytes() == b"from the second"
    (volume.path / "other").write_bytes(b"from the first")
    volume.wait_for_another_daemon(killed)
    assert (second / "other").read_bytes() == b"from the first"
    volume.unmount(at=1)
    (volume.path / "file").write_bytes(b"alone")
    assert (volume.path / "file").read_bytes() == b"alone"
    volume.assert_sound()
