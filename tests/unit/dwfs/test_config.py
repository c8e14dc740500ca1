"""The options of -o."""

from pathlib import Path

import pytest

from dwd.model.errors import BadConfig
from dwfs.config import parse_options


def test_each_option_does_what_it_says() -> None:
    """Ours become fields; the kernel's are passed on."""
    options = parse_options(["ro", "noatime", "sync", "timeout=2.5", "fsname=x", "nodev", "suid"], is_root=False)
    assert (options.read_only, options.atime, options.sync, options.timeout) == (True, False, True, 2.5)
    assert options.for_fuse(Path("/d")) == {
        "fsname=x", "subtype=dwfs", "default_permissions", "ro", "noatime", "nodev", "suid",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["nonsense", "timeout=0", "timeout=x", "timeout", "fsname=", "ro=1"])
def test_what_is_not_understood_is_refused(word: str) -> None:
    """An option is never dropped silently; the message names it."""
    with pytest.raises(BadConfig, match=word.partition("=")[0]):
        parse_options([word], is_root=False)


def test_a_mount_by_root_is_for_every_user() -> None:
    """As any file system of the system; another user's is for him alone, unless he asks."""
    assert parse_options([], is_root=True).allow_other
    assert not parse_options([], is_root=False).allow_other
    assert parse_options(["allow_other"], is_root=False).allow_other


def test_the_source_is_the_data_folder() -> None:
    """A comma in it would end the option."""
    assert "fsname=/a\\,b" in parse_options([], is_root=False).for_fuse(Path("/a,b"))
