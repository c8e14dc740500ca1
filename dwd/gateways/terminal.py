"""Reports on a terminal: tables for people, made from the report's own fields; one JSON object for scripts.

Rules: no verb has a rendering of its own; units come from the fields (dwd.wire.reports). Nothing
that a file is called can reach the terminal as a control character or as markup.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from dwd.model.units import KIB
from dwd.wire.admin import Failed, Progress
from dwd.wire.reports import Report
from dwd.wire.shown import shown_text

_PIPE_COLUMNS: Final = 100_000  # no line of a pipe is folded
_INDENT: Final = "  "
_BYTE_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400
_STYLES: Final = {
    "serving": "green",
    "online": "green",
    "whole": "green",
    "healing": "yellow",
    "waiting": "yellow",
    "suspected": "yellow",
    "draining": "yellow",
    "degraded": "yellow",
    "warning": "yellow",
    "missing": "red",
    "faulted": "red",
    "other-volume": "red",
    "ejected": "red",
    "unreadable": "red",
    "error": "red",
}


def console(*, stderr: bool = False) -> Console:
    """A console of this process, which folds lines only on a terminal."""
    terminal = Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if not terminal.is_terminal:
        terminal.width = _PIPE_COLUMNS
    return terminal


def report_json(report: Report) -> str:
    """One object on one line."""
    return msgspec.json.encode(report).decode()


def failure_json(failure: Failed) -> str:
    """One object on one line, in the shape that all errors have."""
    return msgspec.json.encode({"error": msgspec.structs.asdict(failure)}).decode()


def print_report(to: Console, report: Report) -> None:
    """Show a report to a person."""
    _print_struct(to, report, "")


def confirm(to: Console, question: str) -> bool:
    """Ask the person who sits there; only a typed yes is one."""
    to.print(Text(shown_text(question)))
    try:
        return input().strip().lower() == "yes"
    except EOFError:
        return False


def print_failure(to: Console, program: str, failure: Failed) -> None:
    """Show an error to a person: what happened, then what to do."""
    to.print(Text(f"{program}: {shown_text(failure.message)} [{failure.code}]"))
    if failure.remedy:
        to.print(Text(f"{_INDENT}{shown_text(failure.remedy)}"))


@contextmanager
def progress_bar(to: Console, title: str) -> Iterator[Callable[[Progress], None]]:
    """A bar while a long call runs, if anybody sits there; what it gives takes the progress."""
    if not to.is_terminal:
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Bar(*columns, console=to, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(progress: Progress) -> None:
            total = f" of {progress.total}" if progress.total else ""
            text = f"{title}: {progress.text} {progress.done}{total} {progress.unit}"
            bar.update(task, description=shown_text(text), completed=progress.done, total=float(progress.total) or None)

        yield show


def _print_struct(to: Console, value: msgspec.Struct, indent: str) -> None:
    units = _units(type(value))
    shown = {name: getattr(value, name) for name in value.__struct_fields__}
    width = max(len(name) for name in shown)
    for name, field in shown.items():
        if isinstance(field, msgspec.Struct):
            to.print(Text(f"{indent}{name}"))
            _print_struct(to, field, indent + _INDENT)
        elif isinstance(field, tuple):
            _print_rows(to, name if field else f"{name:<{width}}", field, indent)
        elif isinstance(field, dict):  # of numbers or texts by name
            _print_rows(to, name, tuple(f"{key} = {_cell(item, None)}" for key, item in sorted(field.items())), indent)
        else:
            to.print(Text(f"{indent}{name:<{width}}  ").append_text(_cell(field, units.get(name))))


def _print_rows(to: Console, name: str, rows: tuple[object, ...], indent: str) -> None:
    to.print(Text(f"{indent}{name}" + ("" if rows else "  none")))
    structs = [row for row in rows if isinstance(row, msgspec.Struct)]
    if not structs:
        for row in rows:
            to.print(Text(f"{indent}{_INDENT}").append_text(_cell(row, None)))
        return
    units = _units(type(structs[0]))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for field in structs[0].__struct_fields__:
        table.add_column(field, overflow="fold")
    for struct in structs:
        cells = (_cell(getattr(struct, field), units.get(field)) for field in struct.__struct_fields__)
        table.add_row(indent, *cells)
    to.print(table)


def _units(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The unit of each field that has one."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(struct):
        info = msgspec.inspect.type_info(field.type)
        for part in info.types if isinstance(info, msgspec.inspect.UnionType) else (info,):
            if isinstance(part, msgspec.inspect.Metadata) and part.extra:
                found[field.name] = str(part.extra["unit"])
    return found


def _cell(value: object, unit: str | None) -> Text:
    if unit is not None and isinstance(value, int | float):
        return Text(_QUANTITIES[unit](value))
    if value is None:
        return Text("-")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:g}")
    if isinstance(value, tuple):
        return Text(" ").join(_cell(item, unit) for item in value) if value else Text("-")
    text = shown_text(str(value))
    return Text(text, style=_STYLES.get(text, ""))


def _bytes(value: float) -> str:
    for unit in _BYTE_UNITS[:-1]:
        if abs(value) < KIB:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= KIB
    return f"{value:.1f} {_BYTE_UNITS[-1]}"


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < _MINUTE_S:
        return f"{seconds:.1f} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_QUANTITIES: Final[dict[str, Callable[[float], str]]] = {"bytes": _bytes, "seconds": _duration, "time": _time}
