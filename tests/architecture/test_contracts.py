"""The layers hold, and the contracts that hold them are complete and do break."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

TOP: Final = Path(__file__).parents[2]
SHELL: Final = {"__main__", "cli", "app", "node", "serving", "config", "gateways", "services", "adapters"}
SEEN_BY_THE_MOUNT: Final = {"model", "codec", "namespace", "wire"}


def modules_of(package: str) -> set[str]:
    """What stands directly in a package."""
    return {path.stem for path in (TOP / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


def contract_list(start_of_name: str, key: str) -> set[str]:
    """A list of one contract in pyproject.toml."""
    contracts = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["name"].startswith(start_of_name)]
    return set(contract[key])


def test_every_package_of_dwd_is_pure_or_shell() -> None:
    """A new package is held to purity unless it is named here as one that does I/O."""
    pure = {f"dwd.{name}" for name in modules_of("dwd") - SHELL - {"__init__"}}
    assert {name for name in contract_list("The pure packages", "source_modules") if name.startswith("dwd.")} == pure


def test_every_module_of_dwd_is_published_or_closed() -> None:
    """The mount sees nothing of dwd but what is named here."""
    closed = {f"dwd.{name}" for name in modules_of("dwd") - SEEN_BY_THE_MOUNT - {"__init__", "__main__"}}
    assert contract_list("dwfs sees of dwd", "forbidden_modules") == closed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("dwd/model/errors.py", "import dwd.codec", "dwd: the layers"),
        ("dwd/services/__init__.py", "import dwd.adapters", "dwd: the layers"),
        ("dwd/stray.py", "", "dwd: the layers"),
        ("dwfs/cache/__init__.py", "import time", "The pure packages"),
        ("dwd/gateways/__init__.py", "import dwd.adapters", "Gateways"),
        ("dwd/app.py", "import pyfuse3", "dwd knows nothing"),
        ("dwfs/cache/__init__.py", "import dwd.raft", "dwfs sees of dwd"),
    ],
)
def test_contract_breaks(module: str, line: str, contract: str, tmp_path: Path) -> None:
    """Each contract is seen to break by a change that violates it."""
    (tmp_path / "pyproject.toml").write_text((TOP / "pyproject.toml").read_text())
    for package in ("dwd", "dwfs"):
        for path in (TOP / package).rglob("*.py"):
            copy = tmp_path / path.relative_to(TOP)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{line}\n")
    argv = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(
        argv, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [report.strip() for report in done.stdout.splitlines() if report.endswith("BROKEN")]
    assert any(report.startswith(contract) for report in broken), broken


@pytest.mark.slow
def test_static_checks() -> None:
    """What scripts/check says without tests holds in continuous integration too: format, lint, types, layers."""
    done = subprocess.run([TOP / "scripts/check", "--static"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
