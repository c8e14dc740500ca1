"""A bounded number of tasks over a list of things to do."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

_T = TypeVar("_T")


async def for_each(things: Iterable[_T], at_once: int, perform: Callable[[_T], Awaitable[None]]) -> None:
    """Perform each, so many at a time, begun in order."""
    waiting = iter(things)

    async def work() -> None:
        for thing in waiting:
            await perform(thing)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(work)
