"""What handlers make of the services: scrub, healing, and the verbs of the node."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from dwd.model.topology import Standing
from dwd.services.pacing import Budget
from dwd.wire.reports import StopReport, VersionReport
from dwd.wire.reports_protection import HealReport, ScrubReport
from dwd.wire.verbs import VERBS, StopRequest, VersionRequest
from dwd.wire.verbs_protection import HealSetRequest, HealStatusRequest, ScrubStartRequest, ScrubStatusRequest
from tests.unit.services.office import Office
from tests.unit.services.plant import flip


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Six bricks, 4+2, and three files."""
    made = Office(tmp_path)
    await made.plant.fill(3)
    yield made
    made.data.close()


async def test_every_verb_is_served_but_one(office: Office) -> None:
    """All that the registry has, but what needs no daemon."""
    assert set(VERBS) - set(office.served) == {"config check"}


async def test_scrub_tells_of_damage(office: Office) -> None:
    """The waiter gets the whole pass; one damaged shard makes the answer unclean."""
    segment = next(iter(office.plant.state.segments(b"S")))
    flip(office.plant.shard(segment.id, 2))
    assert (await office.ask(ScrubReport, "scrub status", ScrubStatusRequest())).started == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(office.plant.scrubber.run)
        report = await office.ask(ScrubReport, "scrub start", ScrubStartRequest(wait=True))
        nursery.cancel_scope.cancel()
    assert (report.running, report.segments, report.damaged, report.clean) == (False, 3, 1, False)
    assert report.finished >= report.started > 0
    assert (report.bytes_left, report.margin > 0) == (0, True)


async def test_heal_status_counts_what_is_wrong(office: Office) -> None:
    """Degraded segments by margin, what waits for a brick, and what drains."""
    await office.plant.destroy(1)
    office.plant.stand(2, Standing.DRAINING)
    await office.plant.healer.heal()
    await office.plant.mover.drain()
    report = await office.ask(HealReport, "heal status", HealStatusRequest())
    assert (report.healing.state, report.healing.degraded, report.healing.waiting) == ("waiting", 3, 3)
    assert report.by_margin == {"1": 3}
    assert [row.brick for row in report.draining] == [2]
    assert report.draining[0].bytes_left > 0


async def test_heal_set_changes_what_is_given(office: Office) -> None:
    """What is not given stays; 0 takes a bound away."""
    report = await office.ask(HealReport, "heal set", HealSetRequest(rate=5000, deadline=60.0))
    assert (report.rate_most, report.operations_most, report.deadline) == (5000, None, 60.0)
    report = await office.ask(HealReport, "heal set", HealSetRequest(rate=0, operations=7))
    assert (report.rate_most, report.operations_most, report.deadline) == (None, 7, 60.0)
    assert office.plant.pacer.budget == Budget(None, 7, 60.0)


async def test_the_node_answers_for_itself(office: Office) -> None:
    """Its version; and stop has it end."""
    assert (await office.ask(VersionReport, "version", VersionRequest())).version
    assert (await office.ask(StopReport, "stop", StopRequest())).was_running
    assert office.stopped
