"""scripts/sim: live through seeds, say what became of each, and how to see a failing one again.

Exit status: 0 all seeds passed, 1 one failed, 2 bad usage.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from tests.simulation.simulation import Report, simulate

_LAST_LINES: Final = 25  # of a failing seed's trace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _parser().parse_args(arguments)
    totals = Totals()
    until = time.monotonic() + options.minutes * 60 if options.minutes else None
    for report in _reports(options.seeds, until, tracing=options.trace):
        totals.add(report)
        _print(report, as_json=options.json)
        if report.failure and not options.json:
            _print_failure(report)
        if report.failure and options.first:
            break
    _say(json.dumps(totals.as_json()) if options.json else str(totals))
    sys.stderr.write(f"{totals.speed}\n")
    return 1 if totals.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/sim", description=__doc__)
    parser.add_argument(
        "--seeds", type=_seeds, required=True, metavar="A..B", help="A to B, both included; or one seed"
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no seed after so long")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--json", action="store_true", help="one object a line for each seed, then the totals")
    parser.add_argument("--first", action="store_true", help="end at the first seed that fails")
    return parser


def _seeds(text: str) -> range:
    found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither A..B nor a number")
    first = int(found[1])
    return range(first, int(found[2] or first) + 1)


def _reports(seeds: range, until: float | None, *, tracing: bool) -> Iterator[Report]:
    for seed in seeds:
        if until is not None and time.monotonic() > until:
            return
        yield simulate(seed, tracing=tracing)


@attrs.define
class Totals:
    """Of all seeds so far."""

    counts: Counter[str] = attrs.field(factory=Counter)
    happened: Counter[str] = attrs.field(factory=Counter)
    failed: list[int] = attrs.field(factory=list)
    began: float = attrs.field(factory=time.process_time)

    def add(self, report: Report) -> None:
        """One seed more."""
        if report.failure:
            self.failed.append(report.seed)
        self.counts.update(
            {
                "seeds": 1,
                "steps": report.steps,
                "messages": report.messages,
                "applied": report.applied,
                "answered": report.answered,
                "undecided": report.undecided,
                "changes": report.changes,
                "changes while cut": report.changes_while_cut,
                "seeds with several changes while cut": int(report.changes_while_cut > 1),
            }
        )
        self.happened.update(report.happened)

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {**self.counts, "happened": self.happened, "failed": self.failed}

    def __str__(self) -> str:
        """For people."""
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        happened = ", ".join(f"{count} {name}" for name, count in sorted(self.happened.items()))
        return f"{counts}\nhappened: {happened}\nfailed: {self.failed or 'none'}"

    @property
    def speed(self) -> str:
        """Of this process on this machine."""
        seconds = max(time.process_time() - self.began, 1e-9)
        return (
            f"{self.counts['steps'] / seconds:.0f} steps/s, {self.counts['seeds'] / seconds * 60:.0f} seeds/min of CPU"
        )


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        _say(json.dumps(attrs.asdict(report)))
        return
    for line in report.trace:
        _say(line)
    happened = " ".join(f"{name}={count}" for name, count in sorted(report.happened.items()))
    _say(f"{'FAILED' if report.failure else 'ok'} {report.options}")
    _say(
        f"   steps={report.steps} messages={report.messages} terms={report.terms} applied={report.applied} "
        f"answered={report.answered} changes={report.changes} while cut={report.changes_while_cut} "
        f"healed in={report.healed_in} state={report.digest:016x} {happened}"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _print_failure(report: Report) -> None:
    _say(f"   {report.failure}")
    trace = report.trace or simulate(report.seed, tracing=True).trace
    for line in trace[-_LAST_LINES:]:
        _say(f"   | {line}")
    _say(f"   again: scripts/sim --seeds {report.seed} --trace")


if __name__ == "__main__":
    sys.exit(main())
