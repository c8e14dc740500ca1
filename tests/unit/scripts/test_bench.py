"""The project's benchmark: its rows, its table, and what it says of figures that it cannot make."""

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[3] / "scripts" / "bench"
SMALL = ["create_s", "write4k_s", "create_write4k_s", "stat_s", "read4k_warm_s", "list_s", "rename_s", "unlink_s"]


@pytest.fixture(name="bench")
def load_bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The command as a module, which may not empty the caches of the machine that the tests run on."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader = SourceFileLoader("bench", str(PATH))
    spec = spec_from_loader("bench", loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench", module)  # where dataclasses look annotations up
    loader.exec_module(module)
    monkeypatch.setattr(module, "DROP_CACHES", Path("/nonexistent/drop_caches"))
    monkeypatch.setattr("os.sync", lambda: None)
    return module


def test_rows_of_small_work(bench: ModuleType, tmp_path: Path) -> None:
    """Every row has a rate, or the reason why it has none, and nothing is left behind."""
    scale = bench.Scale(files=3, stream_mib=1, seconds=0.02)
    results = bench.measure(tmp_path, ["small", "stream", "db"], scale, 2)
    assert list(results.runs) == [*SMALL, "write_stream_MBs", "read_stream_warm_MBs", "sqlite_tx_s"]
    assert all(len(runs) == 2 and min(runs) > 0 for runs in results.runs.values())
    assert results.skipped == dict.fromkeys(["read4k_cold_s", "read_stream_cold_MBs"], bench.NEEDS_ROOT)
    assert list(tmp_path.iterdir()) == []


def test_rows_without_fio(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without fio is told how to get it, row by row."""
    monkeypatch.setenv("PATH", str(tmp_path))
    results = bench.measure(tmp_path, ["fio"], bench.QUICK, 1)
    names = ["randread4k_cold_iops", "randwrite4k_iops", "write4k_fsync_iops"]
    assert (results.runs, results.skipped) == ({}, dict.fromkeys(names, "needs fio: apt-get install fio"))


def test_a_short_file_is_no_fast_read(bench: ModuleType, tmp_path: Path) -> None:
    """A file system that loses bytes gets a message, not a rate."""
    files = bench.SmallFiles(tmp_path, 1)
    (tmp_path / "a0").write_bytes(b"x")
    with pytest.raises(SystemExit, match="has 1 bytes instead of 4096"):
        files.each("a", files.read)()


def test_table_of_one_round_and_of_several(bench: ModuleType) -> None:
    """One round has no range; several have their median, minimum and maximum."""
    once = bench.Results({"create_s": [1234.56]}, {"read4k_cold_s": "x"})
    assert once.table().splitlines()[1:] == [
        f"{'create_s':24}{'1,234.6':>12}",
        f"{'read4k_cold_s':24}     skipped: x",
    ]
    thrice = bench.Results({"create_s": [3.0, 1.0, 2.0]}, {})
    assert thrice.table().splitlines()[1] == f"{'create_s':24}{'2.0':>12}{'1.0':>12}{'3.0':>12}"


@pytest.mark.parametrize("argv", [["/nonexistent"], [".", "--only", "small,nonsense"], [".", "--repeat", "0"]])
def test_bad_arguments(bench: ModuleType, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant is refused before anything is measured, with the usage."""
    with pytest.raises(SystemExit, match="2"):
        bench.main(argv)
    assert "usage: bench" in capsys.readouterr().err
