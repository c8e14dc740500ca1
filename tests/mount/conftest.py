"""Volumes for tests: each in a short folder of its own, gone at the end, with its logs shown if the test fails."""

import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.mount.volume import Volume

_LOG_CHARACTERS_SHOWN = 6000
_VOLUMES = pytest.StashKey[list[Volume]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the logs of the volumes that a failed test used."""
    report = yield
    if report.failed:
        for volume in item.stash.get(_VOLUMES, []):
            for path, text in volume.logs().items():
                report.sections.append((str(path), text[-_LOG_CHARACTERS_SHOWN:]))
    return report


def _new_volume() -> Volume:
    root = Path(tempfile.mkdtemp(prefix="dwfs-"))
    root.chmod(0o755)  # other users pass
    return Volume(root, root / "data")


def _end(volumes: list[Volume]) -> None:
    problems = [problem for volume in volumes for problem in volume.end()]
    if problems:
        pytest.fail("\n".join(problems))  # the folders stay, for whoever looks into them
    for volume in volumes:
        shutil.rmtree(volume.root)


@pytest.fixture
def volumes(request: pytest.FixtureRequest) -> Iterator[Callable[[], Volume]]:
    """Makes volumes that are not mounted yet."""
    made: list[Volume] = request.node.stash.setdefault(_VOLUMES, [])

    def make() -> Volume:
        made.append(_new_volume())
        return made[-1]

    yield make
    _end(made)


@pytest.fixture
def volume(volumes: Callable[[], Volume]) -> Volume:
    """A volume of one's own, mounted with the defaults."""
    made = volumes()
    made.mount()
    return made


@pytest.fixture(scope="module")
def shared() -> Iterator[Volume]:
    """One volume for the tests of a module, each in a folder of its own."""
    made = _new_volume()
    made.mount()
    yield made
    _end([made])


@pytest.fixture
def folder(shared: Volume, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder on the module's volume, which must be sound again when the test is over."""
    request.node.stash.setdefault(_VOLUMES, []).append(shared)
    made = Path(tempfile.mkdtemp(dir=shared.path))
    made.chmod(0o755)
    yield made
    problems = shared.complaints()
    if problems:
        pytest.fail("\n".join(problems))
