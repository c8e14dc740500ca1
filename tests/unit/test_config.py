"""Settings: the command line over the file over defaults."""

from pathlib import Path

import pytest

from dwd.config import ConfigFile, ServeOptions, default_data, read_config, with_config
from dwd.model.errors import BadConfig


def test_without_a_file_the_command_line_counts(tmp_path: Path) -> None:
    """An absent file, or an absent folder, says nothing."""
    assert read_config(tmp_path / "absent") == ConfigFile()
    given = ServeOptions(tmp_path, bricks=6, protection="4+2", metadata_mirrors=2)
    assert with_config(given) == given


def test_the_file_fills_what_was_left_open(tmp_path: Path) -> None:
    """Each setting of the file counts unless the command line has it; its paths begin at its folder."""
    (tmp_path / "dwd.toml").write_text('brick_paths = ["b1", "/disk2"]\nprotection = "Replica2"\nadmin_group = "ops"\n')
    options = with_config(ServeOptions(tmp_path))
    assert options == ServeOptions(
        tmp_path, brick_paths=(tmp_path / "b1", Path("/disk2")), protection="Replica2", strict=False, admin_group="ops"
    )
    assert options.settings() == {
        "brick_paths": f"{tmp_path}/b1, /disk2", "protection": "Replica2", "admin_group": "ops",
    }  # fmt: skip
    over = with_config(ServeOptions(tmp_path, bricks=3, protection="None"))
    assert (over.bricks, over.brick_paths, over.protection) == (3, (), "None")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour = 1\n", "colour"),
        ("bricks = 'six'\n", "bricks"),
        ("bricks = 0\n", "bricks"),
        ("bricks = 2\nbrick_paths = ['a']\n", "not both"),
        ("protection = 'RAID0'\n", "RAID0"),
        ("metadata_mirrors = -1\n", "metadata mirrors = -1"),
        ("protection =\n", "line 1"),
        ("bricks = 2\nbricks = 3\n", "line 2"),
        ("a = '\udcff'\n", "utf-8"),
        ("#" * ((1 << 20) + 1), "longer"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    """The message names the file and what is wrong in it."""
    (tmp_path / "dwd.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadConfig) as caught:
        with_config(ServeOptions(tmp_path))
    assert str(tmp_path / "dwd.toml") in str(caught.value)
    assert named in str(caught.value)


def test_a_wrong_command_line_is_named_as_such(tmp_path: Path) -> None:
    """What was typed is not blamed on the file."""
    with pytest.raises(BadConfig, match=r"command line.*not both"):
        with_config(ServeOptions(tmp_path, bricks=2, brick_paths=(Path("a"),)))
    with pytest.raises(BadConfig, match=r"command line.*bricks = -1"):
        with_config(ServeOptions(tmp_path, bricks=-1))


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """DWFS_DATA names it, else it lies in the home folder."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DWFS_DATA", "/srv/data")
    assert default_data() == Path("/srv/data")
    monkeypatch.delenv("DWFS_DATA")
    assert default_data() == Path("/home/me/.local/share/dwfs")
