"""What an operator does to a volume in use: policies; bricks added, drained, removed; the answers to questions."""

import json
import os
from pathlib import Path

import pytest

from tests.mount.bricks import brick, lose, make_files, wait_until_protected, wrong
from tests.mount.volume import Volume, dwd, wait_until

pytestmark = pytest.mark.mount


def _used(volume: Volume, path: Path) -> dict[str, int]:
    report = volume.ask("where", str(path))
    return {name: report[name] for name in ("size", "used", "margin", "inline")}


def _refused(*arguments: object) -> str:
    done = dwd(*arguments, "--json", check=False)
    assert done.returncode == 3, done.stdout
    code: str = json.loads(done.stdout)["error"]["code"]
    return code


def test_a_policy_is_set_converted_and_reverted(volume: Volume) -> None:
    """Three copies, then 4+2 again: real space follows, new files inherit, every byte stays right."""
    photos = volume.path / "photos"
    photos.mkdir()
    files = make_files(photos, 9, 12)
    size = _used(volume, photos)["size"]
    would = volume.ask("protect", str(photos), "Replica3", "--dry-run")
    assert (would["estimate"]["bytes"], would["conversion"]) == (size, None)
    assert _used(volume, photos)["used"] < 2 * size
    volume.ask("protect", str(photos), "Replica3")
    wait_until(lambda: volume.ask("protect", str(photos), "--status")["conversion"] is None, "it is converted")
    used = _used(volume, photos)
    assert used["used"] >= 3 * (size - used["inline"])
    assert used["margin"] == 2
    with (photos / "new").open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    assert _used(volume, photos / "new")["used"] >= 3 << 20
    assert wrong(files) == []
    volume.ask("protect", str(photos), "--revert")
    wait_until(lambda: volume.ask("protect", str(photos), "--status")["conversion"] is None, "it is reverted")
    wait_until(lambda: _used(volume, photos)["used"] < 2 * size + (2 << 20), "the room follows")
    assert wrong(files) == []
    volume.assert_sound()


def test_a_brick_is_added_another_drained_and_removed(volume: Volume) -> None:
    """Refused while it would cost protection; with a seventh brick the first is emptied, and goes."""
    files = make_files(volume.path, 10, 12)
    assert _refused("brick", "drain", 1, "--data", volume.data) == "not-safe"
    assert _refused("brick", "remove", 1, "--data", volume.data) == "brick-in-use"
    assert _refused("brick", "drain", 99, "--data", volume.data) == "unknown-brick"
    full = volume.root / "full"
    full.mkdir()
    (full / "something").write_bytes(b"else")
    assert _refused("brick", "add", full, "--data", volume.data) == "volume-mismatch"
    assert _refused("brick", "add", volume.path / "own", "--data", volume.data) == "bad-config"
    volume.ask("brick add", str(volume.root / "seventh"))
    volume.ask("brick drain", "1", "--wait")
    folder = brick(volume, 1)
    volume.ask("brick remove", "1")
    lose(folder)
    assert wrong(files) == []
    wait_until_protected(volume)
    volume.assert_sound()
    volume.remount()
    assert sorted(each["id"] for each in volume.ask("brick ls")["bricks"]) == [2, 3, 4, 5, 6, 7]
    assert wrong(files) == []


def test_questions_about_a_loss_are_answered_exactly(volume: Volume) -> None:
    """Any two bricks: nothing unreadable; any three: every file with bytes in segments, to the byte."""
    files = make_files(volume.path, 11, 8)
    total = sum(path.stat().st_size for path in files)
    volume.ask("protect", "/", "--status")
    in_segments = total - _used(volume, volume.path)["inline"]
    two = {each["fate"]: each for each in volume.ask("what-if lose", "1", "2", check=False)["exposed"]}
    three = {each["fate"]: each for each in volume.ask("what-if lose", "1", "2", "3", check=False)["exposed"]}
    assert "unreadable" not in two
    assert two["zero-margin"]["bytes"] == three["unreadable"]["bytes"] == in_segments


def test_modes_that_do_not_fit_are_refused(volume: Volume) -> None:
    """With what is missing named; unknown ones too."""
    for mode in ("16+4", "RAIDZ3", "Replica9"):
        assert _refused("protect", "/", mode, "--data", volume.data) == "bad-config", mode
    assert _refused("protect", "/", "Replica0", "--data", volume.data) == "bad-config"
    assert _refused("protect", "/nowhere", "Replica2", "--data", volume.data) != ""
