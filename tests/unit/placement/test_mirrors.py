"""Which bricks mirror the metadata."""

from hypothesis import given
from hypothesis import strategies as st

from dwd.model.ids import BrickId
from dwd.placement.mirrors import choose_mirrors

OWN = 0
DEVICES = st.dictionaries(st.integers(1, 12).map(BrickId), st.integers(0, 5), max_size=12)


@given(DEVICES, st.sets(st.integers(1, 12).map(BrickId)), st.integers(0, 6))
def test_devices_are_distinct_unless_a_number_was_asked_for(
    devices: dict[BrickId, int], kept: set[BrickId], wanted: int
) -> None:
    """As many as there are devices beside that of the data folder, and never two on one."""
    chosen = choose_mirrors(devices, OWN, kept, wanted, forced=False)
    used = [devices[brick] for brick in chosen]
    assert len(set(used)) == len(used)
    assert OWN not in used
    assert len(chosen) == min(wanted, len(set(devices.values()) - {OWN}))


@given(DEVICES, st.sets(st.integers(1, 12).map(BrickId)), st.integers(0, 6))
def test_a_number_is_kept_wherever_it_can_be(devices: dict[BrickId, int], kept: set[BrickId], wanted: int) -> None:
    """Distinct devices come first; then any brick will do."""
    chosen = choose_mirrors(devices, OWN, kept, wanted, forced=True)
    assert len(set(chosen)) == len(chosen) == min(wanted, len(devices))
    distinct = len(set(devices.values()) - {OWN})
    assert len({devices[brick] for brick in chosen} - {OWN}) >= min(wanted, distinct)


def test_what_is_a_mirror_stays_one() -> None:
    """A copy is dear: a lower number is no reason to move it."""
    devices = {BrickId(i): i for i in range(1, 7)}
    assert choose_mirrors(devices, OWN, {BrickId(5), BrickId(4)}, 3, forced=False) == [4, 5, 1]
