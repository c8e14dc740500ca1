"""Exit codes and error reports."""

import json
from pathlib import Path

import pytest

from dwfs.cli import OK, REFUSED, USAGE, main


def test_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that cannot be understood is 2, and says where help is."""
    assert main(["mount"]) == USAGE
    assert main(["mount", "--bricks", "3", "--brick", "x", "m"]) == USAGE
    assert "--help" in capsys.readouterr().err


def test_refusals_name_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that cannot be used is 3, before anything is started or made."""
    data = tmp_path / "data"
    for words, said in (
        (["-o", "nonsense", str(tmp_path)], "nonsense"),
        (["--protection", "9", str(tmp_path)], "protection '9'"),
        (["--bricks", "0", str(tmp_path)], "--bricks 0"),
        ([str(tmp_path / "none")], "does not exist"),
    ):
        assert main(["mount", "--data", str(data), *words]) == REFUSED
        assert said in capsys.readouterr().err
    assert not data.exists()


def test_json_errors_are_one_object_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Code, message, and whether trying again may help."""
    assert main(["umount", "--json", str(tmp_path)]) == REFUSED
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["fault"]) == ("not-mounted", False)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """As text, and as JSON."""
    assert main(["version"]) == OK
    assert capsys.readouterr().out.startswith("dwfs ")
    assert main(["version", "--json"]) == OK
    assert "version" in json.loads(capsys.readouterr().out)
