import os
import threading
from pathlib import Path

import pytest

from dwd.adapters.cached_open import open_cached


def test_known_name_is_opened(tmp_path: Path) -> None:
    """A file that was just written is opened for reading, and not inherited by children."""
    (tmp_path / "file").write_bytes(b"bytes")
    fd = open_cached(tmp_path / "file")
    assert fd is not None
    assert os.read(fd, 10) == b"bytes"
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_name_that_the_kernel_would_have_to_look_up_is_not_opened() -> None:
    """A path that nobody asked for yet (the files of a new thread, in /proc) is None, at once."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        path = Path(f"/proc/{os.getpid()}/task/{thread.native_id}/limits")
        assert open_cached(path) is None
        assert path.read_bytes()
    finally:
        release.set()
        thread.join()


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    """Where the kernel knows that there is no such file, it says so."""
    (tmp_path / "gone").write_bytes(b"")
    (tmp_path / "gone").unlink()
    assert not (tmp_path / "gone").exists()
    with pytest.raises(FileNotFoundError, match="gone"):
        open_cached(tmp_path / "gone")
