"""Each rule of scripts/tidy.py, on the last text that passes and the first that does not."""

from pathlib import Path

import pytest

from scripts import tidy
from scripts.tidy import Source

NO_NAMES: frozenset[str] = frozenset()


def texts(path: str, text: str, documented: frozenset[str] = NO_NAMES) -> list[str]:
    """What all rules say of one file."""
    return [finding.text for finding in tidy.findings([Source(path, text)], documented)]


def function_of(lines: int) -> str:
    """A function with so many lines."""
    return "def f() -> None:\n" + "    pass\n" * (lines - 1)


def test_file_ceiling() -> None:
    """A file may have 450 lines and not one more."""
    assert texts("dwd/x.py", "pass\n" * 450) == []
    assert texts("dwd/x.py", "pass\n" * 451) == ["the file has 451 lines, more than 450"]


@pytest.mark.parametrize("prefix", ["", "async "])
def test_function_ceiling(prefix: str) -> None:
    """A function, async or not, may have 70 lines and not one more."""
    assert texts("dwd/x.py", prefix + function_of(70)) == []
    assert texts("dwd/x.py", prefix + function_of(71)) == ["f has 71 lines, more than 70"]


@pytest.mark.parametrize(
    "path",
    ["dwd/utils.py", "dwd/helpers/x.py", "dwfs/cache_manager.py", "tests/unit/dwd/test_misc.py", "dwd/common/a.py"],
)
def test_empty_words_in_module_names(path: str) -> None:
    """A word that fits every module is refused in any part of a path."""
    assert len(texts(path, "")) == 1


@pytest.mark.parametrize("path", ["dwd/commons.py", "dwd/codec/frame.py", "dwfs/mount_helper.py"])
def test_telling_module_names(path: str) -> None:
    """Whole words only, and a name that mount(8) gave is not ours to change."""
    assert texts(path, "") == []


@pytest.mark.parametrize("mark", ["TO" + "DO", "FIX" + "ME", "XX" + "X"])
def test_work_put_off(mark: str) -> None:
    """A mark is found in any file, with its line; a longer word that contains it is none."""
    (finding,) = tidy.check_marks(Source("scripts/run", f"true\n# {mark}: later\n# {mark}s\n"))
    assert (finding.line, str(finding)) == (2, f"scripts/run:2: {mark}: do it, or file an issue")


@pytest.mark.parametrize("call", ['invariant(x, "R2")', 'checks.invariant(x, "R2", x)', 'invariant(x, name="R2")'])
def test_invariant_without_a_row(call: str) -> None:
    """A name that the document lacks is a finding, one that it has is not."""
    assert texts("dwd/x.py", call, frozenset({"R1"})) == ["invariant R2 has no row in docs/INVARIANTS.md"]
    assert texts("dwd/x.py", call, frozenset({"R2"})) == []


@pytest.mark.parametrize("call", ["invariant(x, name)", "invariant(x)", 'invariant(x, f"R{y}")'])
def test_invariant_without_a_literal_name(call: str) -> None:
    """A name that only running can tell cannot be looked up, so it is refused."""
    assert texts("dwd/x.py", call) == ["an invariant's name must be a literal, such as 'R1'"]


def test_tests_may_make_up_invariants() -> None:
    """The tests of invariant() need no rows."""
    assert texts("tests/unit/x.py", 'invariant(False, "Z9")') == []


def test_documented_invariants() -> None:
    """Names are read from first columns only, with or without backquotes."""
    text = "| name | what |\n|---|---|\n| R1 | not R2 |\n| `WAL12` | x |\nR3 | x\nprose about R4\n"
    assert tidy.documented_invariants(text) == {"R1", "WAL12"}


def test_command_without_suffix_is_python() -> None:
    """A command is held to the rules by its first line."""
    assert len(texts("scripts/x", "#!/usr/bin/env python3\n" + function_of(71))) == 1
    assert texts("scripts/x", "#!/usr/bin/env bash\n" + "true\n" * 500) == []


def test_a_whole_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command reads the tree, prints what it found, and says so in its status."""
    for folder in ("dwd", "docs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "docs" / "INVARIANTS.md").write_text("| R1 | x |\n")
    (tmp_path / "dwd" / "a.py").write_text('invariant(True, "R1")\n')
    assert (tidy.main([str(tmp_path)]), capsys.readouterr().out) == (0, "")
    (tmp_path / "dwd" / "b.py").write_text('\ninvariant(True, "R9")\n')
    assert tidy.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out == "dwd/b.py:2: invariant R9 has no row in docs/INVARIANTS.md\n"
