"""What the tests of the namespace share."""

from collections.abc import Iterator

import pytest

from tests.unit.namespace.volume import Volume


@pytest.fixture
def volume() -> Iterator[Volume]:
    """A fresh volume; when the test is done a survey of it must find nothing."""
    made = Volume()
    yield made
    made.check()
