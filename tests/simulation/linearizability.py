"""Whether what clients saw of a register could have happened one operation at a time (Wing and Gong, Lowe's memory).

The search knows nothing of logs and indices: only when each operation began and ended, and what it returned. An
operation whose end nobody saw may have happened at any time after its beginning, or never.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

import attrs

from tests.simulation.registers import Act, perform

STATES_MAX: Final = 20_000  # of one register's search: what is not decided then is counted, and passes
NEVER: Final = 1 << 60


@attrs.frozen
class Operation:
    """One client's operation on one register."""

    began: int
    ended: int  # NEVER: nobody knows whether it happened
    act: Act
    value: int
    expected: int
    outcome: int | None  # None with NEVER


class Verdict(Enum):
    """What the search found."""

    LINEARIZABLE = "linearizable"
    IMPOSSIBLE = "impossible"
    UNDECIDED = "undecided"


def judge(operations: Sequence[Operation]) -> Verdict:
    """Search for an order that explains every outcome and respects real time, beginning with a register of 0."""
    ops = sorted(operations, key=lambda operation: (operation.began, operation.ended))
    must = sum(1 << at for at, operation in enumerate(ops) if operation.ended != NEVER)
    seen: set[tuple[int, int]] = set()
    stack = [(0, 0)]
    while stack:
        done, held = stack.pop()
        if done & must == must:
            return Verdict.LINEARIZABLE
        for at in reversed(_candidates(ops, done)):
            operation = ops[at]
            after, outcome = perform(operation.act, held, operation.value, operation.expected)
            state = (done | 1 << at, after)
            if operation.outcome in (None, outcome) and state not in seen:
                seen.add(state)
                stack.append(state)
        if len(seen) > STATES_MAX:
            return Verdict.UNDECIDED
    return Verdict.IMPOSSIBLE


def _candidates(ops: list[Operation], done: int) -> list[int]:
    """What may come next, likeliest first: everything that began before the first end among what is left."""
    found: list[int] = []
    first_end = NEVER
    for at, operation in enumerate(ops):
        if operation.began > first_end:
            break
        if not done >> at & 1:
            found.append(at)
            first_end = min(first_end, operation.ended)
    return sorted((at for at in found if ops[at].began <= first_end), key=lambda at: ops[at].ended)
