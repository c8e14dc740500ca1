"""The net has no hole: every bug that others shipped, put back into a copy of the core, is caught."""

from pathlib import Path

import pytest

from tests.simulation.mutating import ROOT, catch, place, row
from tests.simulation.mutations import ALL, Mutation


@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_mutation_applies(mutation: Mutation) -> None:
    """The text that a mutation replaces is in the code, once: else it would prove nothing."""
    for edit in mutation.edits:
        place(edit, ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_mutation_is_caught(mutation: Mutation, tmp_path: Path) -> None:
    """The simulator, or else the core's own tests, fail with this bug."""
    caught = catch(mutation, tmp_path)
    print(row(mutation, caught))  # noqa: T201 a line of the table in docs/TESTING.md
    assert caught.by
