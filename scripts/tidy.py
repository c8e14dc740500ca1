#!/usr/bin/env python3
"""Our own small linter: the rules of this project that no other tool knows.

usage: scripts/tidy.py [ROOT]

* a Python file has at most 450 lines and a function at most 70: past that it is more than one thing;
* no module is called utils, manager, helper, misc or common: a name says what is inside;
* every name in `invariant(condition, "R1", ...)` is a literal and has a row in docs/INVARIANTS.md;
* nothing is left to do later in a comment: an issue is the place for that.

Exit status 1, with one line a finding, if a rule is broken. Standard library only.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 70
BANNED_WORDS = frozenset({"utils", "util", "manager", "helper", "helpers", "misc", "common"})
NAME_OF_OTHERS = "mount_helper"  # mount(8) calls such a program a helper
BANNED_MARKS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
INVARIANT_ROW = re.compile(r"^\| *`?([A-Z]+[0-9]+)`? *\|")
INVARIANTS_FILE = "docs/INVARIANTS.md"
FOLDERS = ("dwd", "dwfs", "scripts", "tests")


@dataclass(frozen=True)
class Finding:
    """One broken rule, where an editor can jump to."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Source:
    """A file of the project, by its path from the top."""

    path: str
    text: str

    @property
    def is_python(self) -> bool:
        """By its name, or by the first line of a command."""
        return self.path.endswith(".py") or self.text.startswith("#!/usr/bin/env python3")

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree; a file that does not parse ends the run with Python's own message."""
        return ast.parse(self.text, self.path)


def check_length(source: Source) -> Iterator[Finding]:
    """The ceilings of a file and of its functions."""
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield Finding(source.path, lines, f"the file has {lines} lines, more than {FILE_LINES_MAX}")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                text = f"{node.name} has {lines} lines, more than {FUNCTION_LINES_MAX}"
                yield Finding(source.path, node.lineno, text)


def check_module_name(source: Source) -> Iterator[Finding]:
    """No word in any part of the path that fits every module."""
    words = re.split(r"[/._]", source.path.replace(NAME_OF_OTHERS, ""))
    for word in sorted(BANNED_WORDS.intersection(words)):
        yield Finding(source.path, 1, f"{word!r} in a module's name says nothing about what is inside")


def check_marks(source: Source) -> Iterator[Finding]:
    """No work put off in a comment."""
    for number, line in enumerate(source.text.splitlines(), 1):
        mark = BANNED_MARKS.search(line)
        if mark:
            yield Finding(source.path, number, f"{mark[1]}: do it, or file an issue")


def check_invariants(source: Source, documented: frozenset[str]) -> Iterator[Finding]:
    """Each invariant that the code asserts is explained in the document."""
    for node in ast.walk(source.tree):
        if not (isinstance(node, ast.Call) and _called_name(node.func) == "invariant"):
            continue
        name = _literal_name(node)
        if name is None:
            yield Finding(source.path, node.lineno, "an invariant's name must be a literal, such as 'R1'")
        elif name not in documented:
            yield Finding(source.path, node.lineno, f"invariant {name} has no row in {INVARIANTS_FILE}")


def _called_name(function: ast.expr) -> str | None:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return None


def _literal_name(call: ast.Call) -> str | None:
    given = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "name")]
    match given:
        case [ast.Constant(value=str(name))]:
            return name
        case _:
            return None


def documented_invariants(text: str) -> frozenset[str]:
    """The names in the first column of the document's tables."""
    return frozenset(row[1] for row in map(INVARIANT_ROW.match, text.splitlines()) if row)


def findings(sources: list[Source], documented: frozenset[str]) -> Iterator[Finding]:
    """Every rule on every file; tests may make invariants up."""
    for source in sources:
        yield from check_marks(source)
        if not source.is_python:
            continue
        yield from check_length(source)
        yield from check_module_name(source)
        if not source.path.startswith("tests/"):
            yield from check_invariants(source, documented)


def read_sources(root: Path) -> list[Source]:
    """All text files below the folders that hold code, in a stable order; golden files are no text of ours."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*")) if path.is_file()]
    wanted = [path for path in paths if path.suffix in {"", ".py"} and "__pycache__" not in path.parts]
    return [Source(str(path.relative_to(root)), path.read_text(encoding="utf-8")) for path in wanted]


def main(argv: list[str]) -> int:
    """Check the project at argv[0], by default the one that this file belongs to."""
    root = Path(argv[0]) if argv else Path(__file__).resolve().parent.parent
    documented = documented_invariants((root / INVARIANTS_FILE).read_text(encoding="utf-8"))
    found = list(findings(read_sources(root), documented))
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
