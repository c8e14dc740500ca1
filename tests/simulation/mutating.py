"""Apply a mutation to a copy of the code, and see who catches it: the simulator, or the core's own tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import attrs

from tests.simulation.mutations import Edit, Mutation

ROOT: Final = Path(__file__).resolve().parents[2]
SEEDS_FIRST: Final = 40  # most bugs need fewer; what these do not show, the core's own tests often do, and sooner
SEEDS: Final = 600
MINUTES: Final = 2.0
_COPIED: Final = ("dwd", "tests/golden", "tests/simulation", "tests/unit/raft")
_MISSPELT: Final = ("AttributeError", "NameError", "TypeError")
_FILES: Final = ("pyproject.toml", "tests/conftest.py")


@attrs.frozen
class Catch:
    """Who caught a mutation; nobody, if `by` is empty."""

    by: str
    seeds: int  # that the simulator needed; 0: it was not the simulator


def catch(mutation: Mutation, folder: Path) -> Catch:
    """Put the bug into a copy below `folder`, and run what should catch it."""
    copy(folder)
    mutate(mutation, folder)
    return _simulated(folder, SEEDS_FIRST) or _tested(folder) or _simulated(folder, SEEDS) or Catch("", 0)


def copy(folder: Path) -> None:
    """The core and what tests it."""
    for name in _COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in _FILES:
        shutil.copy(ROOT / name, folder / name)


def mutate(mutation: Mutation, folder: Path) -> None:
    """Replace the text."""
    for edit in mutation.edits:
        path = place(edit, folder)
        path.write_text(path.read_text().replace(edit.old, edit.new))


def place(edit: Edit, folder: Path) -> Path:
    """The file that has the text, which must be there once."""
    where = folder / edit.path
    paths = sorted(where.glob("*.py")) if where.is_dir() else [where]
    found = [path for path in paths for _ in range(path.read_text().count(edit.old))]
    assert len(found) == 1, f"{len(found)} times in {edit.path}: {edit.old!r}"
    return found[0]


def _simulated(folder: Path, seeds: int) -> Catch | None:
    """Live through seeds until one fails."""
    arguments = (
        "-m",
        "tests.simulation.cli",
        "--first",
        "--json",
        "--seeds",
        f"0..{seeds - 1}",
        "--minutes",
        str(MINUTES),
    )
    run = _python(folder, *arguments)
    reports = [json.loads(line) for line in run.stdout.splitlines() if '"failure"' in line]
    if run.returncode == 0:
        return None
    assert reports, f"the mutated code cannot even be loaded: {run.stderr}"
    by = reports[-1]["failure"].split(":")[0]
    assert by not in _MISSPELT, f"it is the patch that fails, not the bug: {reports[-1]['failure']}"
    return Catch(f"simulator: {by}", len(reports))


def _tested(folder: Path) -> Catch | None:
    """Run the tests of the core until one fails."""
    run = _python(folder, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/unit/raft")
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED ")]
    if run.returncode == 0:
        return None
    assert run.returncode == 1, f"the tests cannot be run: {run.stdout}"
    assert failed, f"no test is named that failed: {run.stdout}"
    return Catch(failed[0].split(" ")[1].rpartition("/")[2], 0)


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = (sys.executable, *arguments)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def row(mutation: Mutation, caught: Catch) -> str:
    """A line of the table in docs/TESTING.md."""
    return f"| {mutation.name} | {mutation.source} | {caught.by or 'NOBODY'} | {caught.seeds or '—'} |"
