"""Named invariants, checked in production too (docs/INVARIANTS.md lists every name)."""


class InvariantViolated(AssertionError):
    """A bug of ours. Nobody catches this: the process ends and its durable state is the truth."""


def invariant(condition: bool, name: str, detail: object = "") -> None:
    """Stop the process where going on would spread damage.

    Raises:
        InvariantViolated: the condition is false.
    """
    if not condition:
        raise InvariantViolated(f"{name}: {detail}")
