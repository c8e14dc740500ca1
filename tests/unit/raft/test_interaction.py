"""Conversations among nodes are what they were: scripts/*.txt, in the language of interaction.py."""

from pathlib import Path

import pytest

from tests.unit.raft.interaction import rewritten

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script(script: Path) -> None:
    """Every command of the script prints what the script says."""
    text = script.read_text()
    assert rewritten(text) == text
