"""The protection of a directory or file: set, looked at, and its conversion paused, resumed, taken back.

Rules: a mode is accepted when the bricks in service can ever hold it at full width; while some of them are away, what
is written gets the strongest that fits. A dry run changes nothing.
"""

from collections.abc import Callable
from typing import Final

import attrs
import trio
from msgspec.structs import replace

from dwd.model.errors import BadRequest, NamespaceRefusal, NothingToDo
from dwd.model.ids import InodeNumber
from dwd.model.inode import Inode
from dwd.model.protection import Protection, check_fits, parse_protection
from dwd.model.topology import Standing
from dwd.model.units import NS_PER_S
from dwd.namespace.converting import Estimate, estimate
from dwd.namespace.locating import paths, resolve
from dwd.namespace.policies import effective
from dwd.namespace.records import ConversionState
from dwd.namespace.state import State
from dwd.placement.rendezvous import Chooser
from dwd.services.brick_register import BrickRegister
from dwd.services.converting import ConversionStatus, Converter
from dwd.services.pace import Rate
from dwd.services.questions import volume_path
from dwd.services.snapshots import Beat, ShowProgress, Snapshots
from dwd.wire.reports import ConversionProgress
from dwd.wire.reports_protection import ConversionEstimate, ProtectReport
from dwd.wire.shown import shown_name

INHERIT: Final = "default"
_INHERIT_WORDS: Final = frozenset({INHERIT, "inherit"})


@attrs.frozen
class _Place:
    """What a path leads to, and what it would have if nothing were set on it."""

    path: str
    inode: Inode
    inherited: Protection | None


@attrs.define(eq=False)
class Protecting:
    """All about policies."""

    register: BrickRegister
    converter: Converter
    snapshots: Snapshots
    default: Protection  # the volume's
    rate: Callable[[], Rate]

    # ---- what an operator asks ----

    async def show(self, path: str) -> ProtectReport:
        """How it stands. Raises NamespaceRefusal."""
        return self._report(self._find(path), dry_run=False)

    async def set(self, path: str, mode: str) -> ProtectReport:
        """Set a policy, and begin to convert what it reaches.

        Raises:
            NamespaceRefusal: there is nothing at this path, or it has no bytes to protect.
            BadConfig: no such mode, or the bricks are too few for it.
        """
        place, wanted = self._find(path), self._parse(mode)
        with trio.CancelScope(shield=True):
            await self.converter.start(place.inode.number, wanted, inherited=place.inherited)
        return self._report(self._find(path), dry_run=False)

    async def estimate(self, path: str, mode: str, show: ShowProgress) -> ProtectReport:
        """What setting it would take. Raises as set()."""
        place, wanted = self._find(path), self._parse(mode)
        target = wanted or place.inherited or self.default
        number = place.inode.number
        found = await self.snapshots.ask(lambda state, beat: _estimate(state, number, target, beat), show)
        counted = ConversionEstimate(
            files=found.files,
            directories=found.directories,
            bytes=found.bytes,
            to_rewrite=found.to_rewrite,
            stored_before=found.stored_before,
            stored_after=found.stored_after,
            seconds=self.rate().seconds(round(found.to_rewrite * (1 + target.overhead))),
        )
        report = self._report(place, dry_run=True)
        return replace(
            report,
            protection=target.name,
            policy=None if wanted is None else wanted.name,
            previous=report.policy,
            now=self.now(target).name,
            estimate=counted,
        )

    async def pause(self, path: str) -> ProtectReport:
        """Stop converting. Raises NamespaceRefusal, NothingToDo."""
        await self.converter.pause(self._converting(path))
        return await self.show(path)

    async def resume(self, path: str) -> ProtectReport:
        """Go on converting. Raises NamespaceRefusal, NothingToDo."""
        await self.converter.resume(self._converting(path))
        return await self.show(path)

    async def revert(self, path: str) -> ProtectReport:
        """Convert back to what it had before. Raises NamespaceRefusal, NothingToDo."""
        place = self._find(path)
        number = place.inode.number
        if self._state.conversion(number) is None and self._state.policy(number) is None:
            raise NothingToDo(f"{path} has no protection of its own, so there is none to go back from")
        with trio.CancelScope(shield=True):
            await self.converter.revert(number, inherited=place.inherited)
        return await self.show(path)

    # ---- what status asks ----

    def now(self, wanted: Protection) -> Protection:
        """What is written gets at this moment; the wanted one if there is no brick at all."""
        chooser = Chooser(self.register.bricks.writable())
        return chooser.fitting(wanted) if chooser.bricks else wanted

    def conversions(self) -> tuple[ConversionProgress, ...]:
        """All that are not done."""
        return tuple(_progress(self._name(one.number), one) for one in self.converter.status())

    def _name(self, number: InodeNumber) -> str:
        """A directory's path; to find a file's would take a walk through everything."""
        inode = self._state.find_inode(number)
        if inode is None or not inode.is_directory:
            return f"inode {number}"
        return shown_name(paths(self._state, [number]).get(number, b"?"))

    # ---- from here on its own business ----

    @property
    def _state(self) -> State:
        return self.register.metadata.state

    def _find(self, path: str) -> _Place:
        name = volume_path(path)
        try:
            inode = resolve(self._state, name)
            above = resolve(self._state, name.rstrip(b"/").rpartition(b"/")[0] or b"/")
        except NamespaceRefusal as refusal:
            raise NamespaceRefusal(refusal.number, path) from refusal
        if not (inode.is_directory or inode.is_regular):
            raise BadRequest(f"{path} is neither a directory nor a file: it has no bytes to protect")
        return _Place(path, inode, None if inode.number == above.number else above.protection)

    def _parse(self, mode: str) -> Protection | None:
        """None: what is above it has. Raises BadConfig."""
        if mode.strip().lower() in _INHERIT_WORDS:
            return None
        wanted = parse_protection(mode)
        serving = [record for record in self.register.present() if record.standing is Standing.ACTIVE]
        domains = len({record.domain for record in serving})
        check_fits(wanted, len(serving), domains if domains > 1 else None)
        return wanted

    def _converting(self, path: str) -> InodeNumber:
        number = self._find(path).inode.number
        if self._state.conversion(number) is None:
            raise NothingToDo(f"no conversion of {path} is under way")
        return number

    def _report(self, place: _Place, *, dry_run: bool) -> ProtectReport:
        number = place.inode.number
        wanted = effective(self._state, number, self.default)
        row = self._state.policy(number)
        under_way = next((one for one in self.converter.status() if one.number == number), None)
        previous = None if row is None or row.previous is None else row.previous.name
        return ProtectReport(
            path=place.path,
            protection=wanted.name,
            policy=None if row is None else row.protection.name,
            previous=previous,
            now=self.now(wanted).name,
            dry_run=dry_run,
            conversion=None if under_way is None else _progress(place.path, under_way),
            estimate=None,
        )


def _estimate(state: State, number: InodeNumber, wanted: Protection, beat: Beat) -> Estimate:
    """The last of the running totals."""
    total = Estimate(0, 0, 0, 0, 0, 0)
    for total in estimate(state, number, wanted):
        beat(total.files)
    return total


def _progress(path: str, status: ConversionStatus) -> ConversionProgress:
    return ConversionProgress(
        path=path,
        wanted=INHERIT if status.protection is None else status.protection.name,
        state="paused" if status.state is ConversionState.PAUSED else "running",
        started=status.started // NS_PER_S,
        files=status.files,
        files_total=status.files_total,
        bytes_done=status.bytes_done,
        bytes_total=status.bytes_total,
        problem=status.problem,
    )
