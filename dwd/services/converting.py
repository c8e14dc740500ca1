"""Perform conversions: hand a policy down to what is below a directory, and write its bytes anew at that protection.

Rules: a conversion is a record of the state, so a restart goes on with it: from the beginning, which finds what is done
already and leaves it. Files are read and written meanwhile; what moved in, or was written at the old protection, is
caught by another pass, until one finds nothing; what is being stored when a pass begins is named before it looks. One
conversion at a time, within the budget of background work.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

import attrs
import trio

from dwd.model.errors import BrickFault, NoSpace
from dwd.model.ids import InodeNumber
from dwd.model.protection import Protection
from dwd.namespace.commands import DropConversion, PutConversion, SetPolicy, SetProtection
from dwd.namespace.converting import (
    ConversionStep,
    PolicyWalk,
    Position,
    begin,
    estimate,
    plan_conversion,
    plan_policy_walk,
)
from dwd.namespace.policies import effective
from dwd.namespace.records import ConversionRecord, ConversionState
from dwd.namespace.state import State
from dwd.namespace.store import Store
from dwd.services.metadata import Metadata
from dwd.services.pacing import Pacer
from dwd.services.repacker import Repacker
from dwd.services.segments import Segments

_WALK_INODES: Final = 256  # of one step
_LOOK_S: Final = 60.0  # for conversions, when nobody said that there is one
_RETRY_S: Final = 10.0  # after a full volume or bricks that failed
_SETTLE_S: Final = 0.02  # between two looks whether what was being stored is named


@attrs.frozen
class ConversionStatus:
    """One conversion; the totals are as they were counted at its start, 0 until then."""

    number: InodeNumber
    protection: Protection | None  # None: the volume's
    previous: Protection | None
    state: ConversionState
    started: int  # ns since 1970
    passes: int = 0
    files: int = 0  # looked at by this pass
    files_total: int = 0
    bytes_done: int = 0  # written anew since the daemon's start
    bytes_total: int = 0
    left: int = 0  # extents of this pass that stayed: they changed meanwhile, or cannot be read (fsck tells)
    problem: str = ""  # why it waits


class Converter:
    """One task; what is to be done is table J."""

    def __init__(
        self,
        metadata: Metadata,
        segments: Segments,
        repacker: Repacker,
        pacer: Pacer,
        open_snapshot: Callable[[], AbstractContextManager[Store]],
    ) -> None:
        self._metadata = metadata
        self._segments = segments
        self._repacker = repacker
        self._pacer = pacer
        self._default = segments.protection
        self._open_snapshot = open_snapshot
        self._wake = trio.Event()
        self._current: ConversionStatus | None = None

    # What an operator asks for

    async def start(
        self, number: InodeNumber, protection: Protection | None, *, inherited: Protection | None = None
    ) -> None:
        """Set a policy and begin to convert what it reaches. None takes the policy away.

        A file does not know its directory: `inherited` is what it is to have then.

        Raises:
            NamespaceRefusal: it is gone, or neither a file nor a directory.
        """
        row = self._metadata.state.policy(number)
        await self._metadata.perform(SetPolicy(number, protection))
        if protection is None and self._metadata.state.inode(number).is_regular:
            await self._metadata.perform(SetProtection(number, inherited))
        now = self._metadata.state.policy(number)  # which remembers what stood there before, also if it is said twice
        previous = now.previous if now is not None else None if row is None else row.protection
        await self._put(number, protection, previous, ConversionState.RUNNING)

    async def pause(self, number: InodeNumber) -> None:
        """Stop converting; the policy stands. Raises NamespaceRefusal: it is gone."""
        await self._say(number, ConversionState.PAUSED)

    async def resume(self, number: InodeNumber) -> None:
        """Go on. Raises NamespaceRefusal: it is gone."""
        await self._say(number, ConversionState.RUNNING)

    async def revert(self, number: InodeNumber, *, inherited: Protection | None = None) -> None:
        """Convert back to the policy that stood there before; done already or not. Raises NamespaceRefusal."""
        state = self._metadata.state
        under_way, row = state.conversion(number), state.policy(number)
        previous = row.previous if under_way is None and row is not None else None
        if under_way is not None:
            previous = under_way.previous
        await self.start(number, previous, inherited=inherited)

    async def _say(self, number: InodeNumber, state: ConversionState) -> None:
        record = self._metadata.state.conversion(number)
        if record is not None:
            await self._put(number, record.protection, record.previous, state)

    async def _put(
        self,
        number: InodeNumber,
        protection: Protection | None,
        previous: Protection | None,
        state: ConversionState,
    ) -> None:
        await self._metadata.perform(PutConversion(number, protection, previous, state))
        self._wake.set()

    def status(self) -> tuple[ConversionStatus, ...]:
        """An immutable snapshot: every conversion that is not done."""
        current = self._current
        return tuple(
            attrs.evolve(current, state=record.state)
            if current is not None and _is_same(current, record)
            else _status(record)
            for record in self._metadata.state.conversions()
        )

    # The work

    async def run(self) -> None:
        """Convert for ever."""
        while True:
            self._wake = trio.Event()
            for record in list(self._metadata.state.conversions()):
                if record.state is ConversionState.RUNNING:
                    await self.convert(record)
            with trio.move_on_after(_LOOK_S):
                await self._wake.wait()

    async def convert(self, record: ConversionRecord) -> None:
        """Until it is done, paused, or another one."""
        self._current = _status(record)
        await self._count_totals(record)
        found = True
        while found:
            await self._settle()
            found = await self._pass(record)
            if not self._stands(record):
                return
        await self._metadata.perform(DropConversion(record.number))

    async def _settle(self) -> None:
        """Wait until what is being stored now is named: its protection was chosen before this pass."""
        waiting = set(self._segments.in_flight)
        while waiting:
            await trio.sleep(_SETTLE_S)
            waiting &= self._segments.in_flight

    def _stands(self, record: ConversionRecord) -> bool:
        """Whether it is still what was begun."""
        now = self._metadata.state.conversion(record.number)
        return now is not None and now.state is ConversionState.RUNNING and now.protection == record.protection

    def _note(self, *, files: int = 0, length: int = 0, left: int = 0, problem: str = "") -> None:
        now = self._current
        if now is not None:
            self._current = attrs.evolve(
                now,
                files=now.files + files,
                bytes_done=now.bytes_done + length,
                left=now.left + left,
                problem=problem,
            )

    async def _count_totals(self, record: ConversionRecord) -> None:
        """As the last flush of the store has it: what is younger is counted too late, and converted all the same."""
        wanted = effective(self._metadata.state, record.number, self._default)

        def count() -> tuple[int, int]:
            with self._open_snapshot() as store:
                files = to_rewrite = 0
                for total in estimate(State(store), record.number, wanted):
                    files, to_rewrite = total.files, total.to_rewrite
                return files, to_rewrite

        files, length = await trio.to_thread.run_sync(count)
        if self._current is not None:
            self._current = attrs.evolve(self._current, files_total=files, bytes_total=length)

    async def _pass(self, record: ConversionRecord) -> bool:
        """Walk all that it reaches once; whether there was anything to do."""
        if self._current is not None:
            self._current = attrs.evolve(self._current, passes=self._current.passes + 1, files=0, left=0)
        found = False
        pending = begin(record.number)
        while pending and self._stands(record):
            walk = plan_policy_walk(self._metadata.state, record.number, pending, _WALK_INODES)
            found |= await self._hand_down(walk)
            found |= await self._rewrite(record, walk)
            self._note(files=len(walk.files))
            pending = walk.pending
            await trio.lowlevel.checkpoint()
        return found

    async def _hand_down(self, walk: PolicyWalk) -> bool:
        """The protection of files and directories, a batch in one append of the log."""
        for change in walk.changes:
            self._metadata.submit(change, lambda _: None)  # one that changed meanwhile is met by the next pass
        self._metadata.pump()
        if self._metadata.is_behind:
            await self._metadata.catch_up()
        return bool(walk.changes)

    async def _rewrite(self, record: ConversionRecord, walk: PolicyWalk) -> bool:
        """The bytes of files; whether any were."""
        found = False
        for step in self._steps(walk):
            if not self._stands(record):
                return True
            if step.plan.moves:
                found |= await self._perform(record, step)
            await trio.lowlevel.checkpoint()
        return found

    def _steps(self, walk: PolicyWalk) -> Iterator[ConversionStep]:
        """Each planned when the one before is done: over the state as it is then."""
        at: Position | None = (0, 0)
        while at is not None:
            step = plan_conversion(self._metadata.state, walk.files, at, self._default)
            yield step
            at = step.following

    async def _perform(self, record: ConversionRecord, step: ConversionStep) -> bool:
        """Write a plan's bytes anew; False: nothing of it could be."""
        plan = step.plan
        while self._stands(record):
            await self._pacer.spend(2 * plan.bytes, plan.protection.width)
            try:
                moved = await self._repacker.perform(plan)
            except (NoSpace, BrickFault) as failure:
                self._note(problem=str(failure))
                await self._pause()
                continue
            self._pacer.excuse(2 * plan.bytes)
            self._note(length=plan.bytes if moved else 0, left=len(plan.moves) - moved)
            return moved > 0
        return True

    async def _pause(self) -> None:
        """Before another attempt; an operator's word ends it."""
        self._wake = trio.Event()
        with trio.move_on_after(_RETRY_S):
            await self._wake.wait()


def _is_same(status: ConversionStatus, record: ConversionRecord) -> bool:
    return (status.number, status.protection) == (record.number, record.protection)


def _status(record: ConversionRecord) -> ConversionStatus:
    return ConversionStatus(record.number, record.protection, record.previous, record.state, record.started)
