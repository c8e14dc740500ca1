"""Give up bricks that go on failing: what their errors and latency say becomes their standing.

Rules: a suspected brick is already read last and takes nothing new; ejecting it has its shards moved to others.
That is not done to more bricks than segments can lose: what looks like so many bad disks is one bad cable.
"""

import logging

from dwd.model.protection import Protection
from dwd.model.topology import Standing
from dwd.namespace.commands import PutBrick
from dwd.namespace.records import BrickRecord
from dwd.placement.health import Verdict
from dwd.services.bricks import Bricks, Condition
from dwd.services.metadata import Metadata

_log = logging.getLogger("dwd")


class Ejector:
    """One task; it acts when the set of bricks changes."""

    def __init__(self, metadata: Metadata, bricks: Bricks, protection: Protection) -> None:
        self._metadata = metadata
        self._bricks = bricks
        self._protection = protection

    async def run(self) -> None:
        """Never returns."""
        while True:
            changed = self._bricks.changed
            for record in list(self._bricks.records().values()):
                await self._judge(record)
            await changed.wait()

    async def _judge(self, record: BrickRecord) -> None:
        health = self._bricks.verdict(record.id)
        if record.standing is not Standing.ACTIVE or health is None or health.verdict is not Verdict.EJECTED:
            return
        if self._unusable() > self._protection.m:
            return
        _log.warning("brick %d is ejected: %s", record.id, health.evidence)
        await self._metadata.perform(
            PutBrick(
                record.id, record.uuid, record.node, record.weight, Standing.EJECTED, record.domain, health.evidence
            )
        )
        found = self._metadata.state.find_brick(record.id)
        if found is not None:
            self._bricks.update(found)

    def _unusable(self) -> int:
        """Bricks that are not here, or given up, and the suspected ones."""
        return sum(
            record.standing is Standing.EJECTED or self._bricks.condition(number).condition is not Condition.ONLINE
            for number, record in self._bricks.records().items()
        )
