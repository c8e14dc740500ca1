"""What clients saw, held against the one history that the log made.

Every reply names an index, which makes the check cheap: outcomes must be those of a replay in the order of the log, and
an operation's index must not lie before that of any operation that had ended before it began. The Wing-Gong search
over the same operations, without the indices, is the second opinion.
"""

from bisect import bisect_right

import attrs

from tests.simulation.linearizability import NEVER, Operation, Verdict, judge
from tests.simulation.registers import Act, Command, Outcome, perform


class Violation(AssertionError):
    """A rule of consensus was broken: its name comes first."""


@attrs.define
class Call:
    """An operation of a client, from its side."""

    command: Command
    began: int
    floor: int  # no index of an operation that had ended before this one began is higher
    ended: int = NEVER
    outcome: int | None = None


class History:
    """The commands that the log made, in its order, and the calls of the clients."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.floor = 0
        self.answered = 0
        self._executed: dict[tuple[int, int], Outcome] = {}
        self._versions: dict[int, list[tuple[int, int]]] = {}

    def execute(self, index: int, command: Command, outcome: Outcome | None) -> None:
        """A command was applied for the first time anywhere: it must come to what a replay says, and act once."""
        name = _name(command)
        if name in self._executed or outcome is None:
            if outcome is not None and outcome != self._executed[name]:
                raise Violation(f"ExactlyOnce: {command} again at {index}: {outcome}, was {self._executed[name]}")
            return
        versions = self._versions.setdefault(command.key, [(0, 0)])
        held, value = perform(command.act, versions[-1][1], command.value, command.expected)
        if outcome != Outcome(index, value):
            raise Violation(f"Replay: {command} came to {outcome}, not to {value} at {index}")
        versions.append((index, held))
        self._executed[name] = outcome

    def begin(self, command: Command, now: int) -> Call:
        """A client begins an operation."""
        call = Call(command, now, self.floor)
        self.calls.append(call)
        return call

    def end(self, call: Call, outcome: Outcome, now: int) -> None:
        """A client has its answer."""
        command = call.command
        if command.act is Act.GET:
            versions = self._versions.get(command.key, [(0, 0)])
            expected = versions[bisect_right(versions, (outcome.index, 1 << 62)) - 1][1]
            if outcome.index < call.floor:
                raise Violation(f"StaleRead: {command} at {outcome.index}, but {call.floor} had been seen before")
            if outcome.value != expected:
                raise Violation(f"Replay: {command} read {outcome}, the log says {expected}")
        else:
            if self._executed.get(_name(command)) != outcome:
                raise Violation(f"Replay: {command} was answered {outcome}, which the log does not say")
            if outcome.index <= call.floor:
                raise Violation(f"RealTime: {command} at {outcome.index}, but {call.floor} had been seen before")
        self.floor = max(self.floor, outcome.index)
        self.answered += 1
        call.ended, call.outcome = now, outcome.value

    def search(self) -> int:
        """Search each register's calls for an order that explains them. Returns how many could not be decided."""
        undecided = 0
        # What was given up and never came into the log can be left out: it need not have happened.
        calls = [call for call in self.calls if call.ended != NEVER or _name(call.command) in self._executed]
        for key in sorted({call.command.key for call in calls}):
            verdict = judge([_operation(call) for call in calls if call.command.key == key])
            if verdict is Verdict.IMPOSSIBLE:
                raise Violation(f"Linearizability: no order explains what was seen of register {key}")
            undecided += verdict is Verdict.UNDECIDED
        return undecided


def _name(command: Command) -> tuple[int, int]:
    return command.client, command.number


def _operation(call: Call) -> Operation:
    command = call.command
    return Operation(call.began, call.ended, command.act, command.value, command.expected, call.outcome)
