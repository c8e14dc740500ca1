"""Which handler answers which verb. A handler unpacks a request, asks a service, and waits if it was asked to."""

import os
from collections.abc import Callable
from pathlib import Path

import attrs

from dwd.config import program_version
from dwd.gateways.admin import Served, ShowProgress, serve_verb
from dwd.model.errors import BadRequest
from dwd.model.ids import BrickId
from dwd.model.units import NS_PER_S
from dwd.services.administration import Administration, shown_healing
from dwd.services.brick_operations import BrickOperations
from dwd.services.brick_replacing import BrickReplacing
from dwd.services.fsck import Fsck
from dwd.services.healing import Healer
from dwd.services.moving import Mover
from dwd.services.pacing import Budget, Pacer
from dwd.services.protecting import Protecting
from dwd.services.questions import Questions
from dwd.services.scrub import Scrubber, ScrubStatus
from dwd.wire import verbs, verbs_bricks, verbs_protection
from dwd.wire.admin import ADMIN_PROTOCOL
from dwd.wire.reports import FsckReport, StatisticsReport, StatusReport, StopReport, VersionReport, VolumeReport
from dwd.wire.reports_bricks import BalanceReport, BrickListReport, BrickReport
from dwd.wire.reports_protection import DrainRow, HealReport, ProtectReport, ScrubReport, WhatIfReport, WhereReport
from dwd.wire.shown import read_name


@attrs.frozen
class Answering:
    """The services that answer."""

    administration: Administration
    fsck: Fsck
    bricks: BrickOperations
    replacing: BrickReplacing
    questions: Questions
    protecting: Protecting
    scrubber: Scrubber
    healer: Healer
    mover: Mover
    pacer: Pacer


def served(services: Answering, stop: Callable[[], None]) -> list[Served]:
    """Every verb that a daemon answers; `stop` has it end."""
    return [
        *_served_node(services, stop),
        *_served_bricks(services.bricks),
        *_served_replacing(services.replacing),
        *_served_protection(services),
    ]


def _served_node(services: Answering, stop: Callable[[], None]) -> list[Served]:
    administration = services.administration

    async def status(_: verbs.StatusRequest, __: ShowProgress) -> StatusReport:
        return administration.status()

    async def statistics(request: verbs.StatisticsRequest, _: ShowProgress) -> StatisticsReport:
        return administration.statistics(request.component)

    async def version(_: verbs.VersionRequest, __: ShowProgress) -> VersionReport:
        return VersionReport(version=program_version(), admin_protocol=ADMIN_PROTOCOL)

    async def stop_daemon(_: verbs.StopRequest, __: ShowProgress) -> StopReport:
        stop()
        return StopReport(was_running=True, pid=os.getpid())

    async def fsck(request: verbs.FsckRequest, show: ShowProgress) -> FsckReport:
        return await services.fsck.run(show, read_bytes=not request.metadata_only)

    async def volume_show(_: verbs.VolumeShowRequest, __: ShowProgress) -> VolumeReport:
        return administration.volume()

    return [
        serve_verb(verbs.STATUS, status),
        serve_verb(verbs.STATISTICS, statistics),
        serve_verb(verbs.VERSION, version),
        serve_verb(verbs.STOP, stop_daemon),
        serve_verb(verbs.FSCK, fsck),
        serve_verb(verbs.VOLUME_SHOW, volume_show),
    ]


def _served_bricks(bricks: BrickOperations) -> list[Served]:
    async def show_bricks(_: verbs_bricks.BrickListRequest, __: ShowProgress) -> BrickListReport:
        return await bricks.list()

    async def add(request: verbs_bricks.BrickAddRequest, _: ShowProgress) -> BrickReport:
        return await bricks.add(_folder(request.folder), request.weight, request.domain)

    async def drain(request: verbs_bricks.BrickDrainRequest, show: ShowProgress) -> BrickReport:
        number = BrickId(request.id)
        if request.cancel:
            return await bricks.take_back(number, dry_run=request.dry_run)
        report = await bricks.drain(number, force=request.force, dry_run=request.dry_run)
        if request.wait and not request.dry_run and not report.warning:  # else it would never be empty
            await bricks.wait_empty(number, show)
        return report

    async def weigh(request: verbs_bricks.BrickWeighRequest, _: ShowProgress) -> BrickReport:
        return await bricks.weigh(BrickId(request.id), request.weight)

    async def balance(request: verbs_bricks.BrickBalanceRequest, show: ShowProgress) -> BalanceReport:
        return await bricks.balance(dry_run=request.dry_run, show=show)

    return [
        serve_verb(verbs_bricks.BRICK_LS, show_bricks),
        serve_verb(verbs_bricks.BRICK_ADD, add),
        serve_verb(verbs_bricks.BRICK_DRAIN, drain),
        serve_verb(verbs_bricks.BRICK_WEIGH, weigh),
        serve_verb(verbs_bricks.BRICK_BALANCE, balance),
    ]


def _served_replacing(replacing: BrickReplacing) -> list[Served]:
    async def replace(request: verbs_bricks.BrickReplaceRequest, show: ShowProgress) -> BrickReport:
        number = BrickId(request.id)
        folder = _folder(request.folder)
        report = await replacing.replace(number, folder, force=request.force, dry_run=request.dry_run)
        if request.wait and not request.dry_run:
            await replacing.wait_rebuilt(number, show)
        return report

    async def remove(request: verbs_bricks.BrickRemoveRequest, _: ShowProgress) -> BrickReport:
        return await replacing.remove(BrickId(request.id), force=request.force, dry_run=request.dry_run)

    return [serve_verb(verbs_bricks.BRICK_REPLACE, replace), serve_verb(verbs_bricks.BRICK_REMOVE, remove)]


def _folder(shown: str) -> Path:
    return Path(os.fsdecode(read_name(shown)))


def _served_protection(services: Answering) -> list[Served]:
    scrubber, questions = services.scrubber, services.questions

    async def protect(request: verbs_protection.ProtectRequest, show: ShowProgress) -> ProtectReport:
        return await _protect(services.protecting, request, show)

    async def where(request: verbs_protection.WhereRequest, show: ShowProgress) -> WhereReport:
        return await questions.where(request.path, request.limit, show)

    async def what_if(request: verbs_protection.WhatIfLoseRequest, show: ShowProgress) -> WhatIfReport:
        return await questions.what_if(request.lost, request.limit, show)

    async def scrub_start(request: verbs_protection.ScrubStartRequest, show: ShowProgress) -> ScrubReport:
        scrubber.start()
        if request.wait:
            await scrubber.wait(show)
        return _shown_scrub(scrubber.status())

    async def scrub_status(_: verbs_protection.ScrubStatusRequest, __: ShowProgress) -> ScrubReport:
        return _shown_scrub(scrubber.status())

    async def heal_status(_: verbs_protection.HealStatusRequest, __: ShowProgress) -> HealReport:
        return _healing(services)

    async def heal_set(request: verbs_protection.HealSetRequest, _: ShowProgress) -> HealReport:
        services.pacer.budget = _budget(services.pacer.budget, request)
        services.healer.wake()
        return _healing(services)

    return [
        serve_verb(verbs_protection.PROTECT, protect),
        serve_verb(verbs_protection.WHERE, where),
        serve_verb(verbs_protection.WHAT_IF_LOSE, what_if),
        serve_verb(verbs_protection.SCRUB_START, scrub_start),
        serve_verb(verbs_protection.SCRUB_STATUS, scrub_status),
        serve_verb(verbs_protection.HEAL_STATUS, heal_status),
        serve_verb(verbs_protection.HEAL_SET, heal_set),
    ]


async def _protect(
    protecting: Protecting, request: verbs_protection.ProtectRequest, show: ShowProgress
) -> ProtectReport:
    """Do the one thing that is asked."""
    asked = [name for name in ("status", "pause", "resume", "revert") if getattr(request, name)]
    if request.mode:
        asked.append("mode")
    if len(asked) > 1 or (request.dry_run and asked != ["mode"]):
        raise BadRequest("give a MODE (with --dry-run or not), or one of --status, --pause, --resume, --revert")
    if request.dry_run:
        return await protecting.estimate(request.path, request.mode, show)
    if request.mode:
        return await protecting.set(request.path, request.mode)
    changes = {"pause": protecting.pause, "resume": protecting.resume, "revert": protecting.revert}
    return await changes.get("".join(asked), protecting.show)(request.path)


def _budget(now: Budget, request: verbs_protection.HealSetRequest) -> Budget:
    """What is not given stays as it is; 0 takes a bound away."""
    return Budget(
        bytes_per_s=now.bytes_per_s if request.rate is None else request.rate or None,
        operations_per_s=now.operations_per_s if request.operations is None else request.operations or None,
        deadline_s=now.deadline_s if request.deadline is None else request.deadline or None,
    )


def _shown_scrub(status: ScrubStatus) -> ScrubReport:
    return ScrubReport(
        running=status.running,
        hurried=status.hurried,
        started=status.started // NS_PER_S,
        finished=status.finished // NS_PER_S,
        segments=status.segments,
        bytes_read=status.bytes,
        bytes_left=status.bytes_left,
        damaged=status.damaged,
        deadline=status.deadline // NS_PER_S,
        margin=status.margin_s,
    )


def _healing(services: Answering) -> HealReport:
    healing, moving, pace = services.healer.status(), services.mover.status(), services.pacer.status()
    return HealReport(
        healing=shown_healing(healing),
        by_margin={str(margin): count for margin, count in healing.by_margin.items()},
        away=healing.away,
        leaving=max(0, healing.waiting_segments - sum(healing.by_margin.values())),
        rebuilt_shards=healing.shards_rebuilt,
        rebuilt_bytes=healing.bytes_rebuilt,
        resynced=healing.resynced,
        upgraded=healing.upgraded,
        mended=healing.mending.mended,
        mending=healing.mending.waiting,
        unreadable=tuple(f"{number:016x}" for number in healing.unreadable),
        draining=tuple(DrainRow(brick=brick, bytes_left=left) for brick, left in sorted(moving.draining.items())),
        balancing=moving.balance_left,
        moved=moving.bytes_moved,
        rate=None if pace.bytes_per_s is None else round(pace.bytes_per_s),
        rate_most=services.pacer.budget.bytes_per_s,
        operations_most=services.pacer.budget.operations_per_s,
        deadline=services.pacer.budget.deadline_s,
        foreground=round(pace.foreground_bytes_per_s),
        problem="; ".join(filter(None, (healing.problem, moving.problem))),
    )
