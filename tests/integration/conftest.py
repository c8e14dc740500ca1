"""Daemons for the tests of this folder: real processes, each ended by its own number."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.daemon import Daemon

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[MakeDaemon]:
    """Daemons that are not started yet."""
    made: list[Daemon] = []

    def make(*options: str, data: Path | None = None, wrapper: tuple[str, ...] = ()) -> Daemon:
        daemon = Daemon(data or tmp_path / f"data{len(made)}", options, wrapper)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.end()


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    """A daemon that serves a new volume of six bricks, 4+2."""
    return make_daemon().start()
