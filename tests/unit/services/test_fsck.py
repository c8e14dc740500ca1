"""What fsck says of segments and of shard files, on real brick folders; the rest is in tests/integration."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from dwd.model.ids import segment_id
from dwd.ports import DurableStore
from dwd.services.consensus import Consensus
from dwd.services.fsck import Findings, Fsck
from dwd.wire.reports import FINDINGS_MAX
from tests.unit.services.plant import Plant, flip


async def _check(plant: Plant, *, read_bytes: bool = True) -> tuple[Findings, int]:
    """Both directions."""
    nothing = cast("DurableStore", None)
    fsck = Fsck(cast("Consensus", plant.log), plant.metadata, plant.segments, plant.garbage, nothing, plant.snapshot)
    findings = Findings()
    numbers = [segment.id for segment in plant.state.segments(b"S")]
    shards, _ = await fsck.verify_segments(numbers, findings, lambda _: None, read_bytes=read_bytes)
    await fsck.find_strays(findings)
    return findings, shards


def _codes(findings: Findings) -> Mapping[str, int]:
    codes = [finding.code for finding in findings.first]
    return {code: codes.count(code) for code in codes}


async def test_a_whole_volume_has_no_finding(tmp_path: Path) -> None:
    """And every shard is counted."""
    plant = Plant(tmp_path)
    await plant.fill(3)
    findings, shards = await _check(plant)
    assert (findings.total, findings.first, shards) == (0, [], 18)


async def test_a_missing_brick_makes_segments_degraded(tmp_path: Path) -> None:
    """One warning for each segment, with the remedy, whether bytes are read or not."""
    plant = Plant(tmp_path)
    await plant.fill(2)
    await plant.hide(1)
    for read_bytes in (True, False):
        findings, shards = await _check(plant, read_bytes=read_bytes)
        assert _codes(findings) == {"degraded-segment": 2}
        assert (findings.total, shards) == (2, 10)
        assert "5 of its 6 shards" in findings.first[0].detail
        assert "brick" in findings.first[0].remedy


async def test_damage_is_told_for_each_shard(tmp_path: Path) -> None:
    """Beside what is missing; more than m of both is a lost segment."""
    plant = Plant(tmp_path)
    segment = (await plant.fill(1))[0]
    record = plant.state.find_segment(segment)
    assert record is not None
    await plant.hide(record.bricks[0])
    flip(plant.shard(segment, 1))
    assert _codes((await _check(plant))[0]) == {"damaged-shard": 1, "degraded-segment": 1}
    plant.shard(segment, 2).unlink()
    findings = (await _check(plant))[0]
    assert _codes(findings) == {"lost-segment": 3}
    assert {finding.severity for finding in findings.first} == {"error"}


async def test_a_fallback_is_information(tmp_path: Path) -> None:
    """It is told and not counted: nothing is to be done that is not said."""
    plant = Plant(tmp_path, bricks=4)
    await plant.fill(2)
    findings = (await _check(plant))[0]
    assert _codes(findings) == {"fallback-segment": 2}
    assert findings.total == 0
    assert "2+2 until 4+2 fits" in findings.first[0].detail


async def test_a_shard_where_no_record_names_it_is_a_stray(tmp_path: Path) -> None:
    """Also if its segment is named, but for another brick; what is in flight or claimed is none."""
    plant = Plant(tmp_path, bricks=7)
    segment = (await plant.fill(1))[0]
    record = plant.state.find_segment(segment)
    assert record is not None
    other = next(number for number in range(1, 8) if number not in record.bricks)
    shutil.copy(plant.shard(segment, 0), plant.shard(segment, 0, other))
    unnamed = segment_id(plant.metadata.epoch, 99)
    shutil.copy(plant.shard(segment, 0), plant.path(1) / "shards" / f"{unnamed % 256:02x}" / f"{unnamed:016x}.0")
    findings = (await _check(plant))[0]
    assert _codes(findings) == {"stray-shard": 2}
    assert f"on brick {other}" in " ".join(finding.subject for finding in findings.first)
    plant.segments.in_flight.add(unnamed)
    with plant.claims.claim(segment):
        assert (await _check(plant))[0].total == 0


def test_findings_are_bounded() -> None:
    """The first are kept, all are counted."""
    findings = Findings()
    for number in range(FINDINGS_MAX + 5):
        findings.add("stray-shard", "warning", str(number), "", "")
    assert (len(findings.first), findings.total) == (FINDINGS_MAX, FINDINGS_MAX + 5)
