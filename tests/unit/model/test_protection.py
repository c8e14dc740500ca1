import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwd.model.errors import BadConfig
from dwd.model.limits import SHARDS_MAX
from dwd.model.protection import NO_PROTECTION, PROFILES, Protection, check_fits, fitting, parse_protection

MODES = st.integers(1, SHARDS_MAX).flatmap(lambda k: st.builds(Protection, st.just(k), st.integers(0, SHARDS_MAX - k)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("RAID6(6+2)", (6, 2)), ("raid6(14+2)", (14, 2)), ("RAIDZ3(8+3)", (8, 3)), ("raidz3( 8+3)", None)],
)
def test_families_have_sizes(text: str, wanted: tuple[int, int] | None) -> None:
    """RAID6 and RAIDZ3 may be given their width."""
    if wanted is None:
        with pytest.raises(BadConfig):
            parse_protection(text)
    else:
        assert parse_protection(text) == Protection(*wanted)


@pytest.mark.parametrize(("text", "promised"), [("RAID6(6+3)", 2), ("RAIDZ3(6+2)", 3), ("raid6(31+2)", 32)])
def test_family_promises_its_parity(text: str, promised: int) -> None:
    """A family's name promises how many shards may be lost: another number is refused, and so are too many shards."""
    with pytest.raises(BadConfig, match=str(promised)):
        parse_protection(text)


def test_profiles_are_distinct_and_are_read_back() -> None:
    """Each profile has a name that means it."""
    assert len(set(PROFILES)) == len(PROFILES)
    assert [parse_protection(profile.name) for profile in PROFILES] == list(PROFILES)
    assert {"None", "Replica2", "Replica3", "4+2", "6+3", "8+4", "10+2", "16+4"} < {p.name for p in PROFILES}


@pytest.mark.parametrize(
    ("wanted", "bricks", "got"),
    [
        ("4+2", 6, "4+2"),
        ("4+2", 5, "3+2"),
        ("4+2", 4, "2+2"),
        ("4+2", 3, "Replica3"),
        ("4+2", 2, "Replica2"),
        ("4+2", 1, "None"),
        ("10+2", 8, "6+2"),
        ("Replica3", 2, "Replica2"),
        ("16+4", 20, "16+4"),
        ("None", 9, "None"),
    ],
)
def test_fallback_keeps_parity_before_data(wanted: str, bricks: int, got: str) -> None:
    """With fewer bricks as many may be lost as before, as long as that is possible."""
    assert fitting(parse_protection(wanted), bricks).name == got


@given(wanted=MODES, bricks=st.integers(1, 40), domains=st.integers(1, 40))
def test_what_is_fitting_fits(wanted: Protection, bricks: int, domains: int) -> None:
    """It fits, is never more than was wanted, and is what was wanted if that fits."""
    domains = min(bricks, domains)
    got = fitting(wanted, bricks, domains)
    counted = bricks if domains == 1 else domains
    check_fits(got, bricks, counted)
    assert got.k <= wanted.k
    assert got.m <= wanted.m
    try:
        check_fits(wanted, bricks, counted)
    except BadConfig:
        assert got != wanted
    else:
        assert got == wanted


@given(wanted=MODES, bricks=st.integers(1, 40))
def test_nothing_stronger_fits(wanted: Protection, bricks: int) -> None:
    """No mode with more parity, nor one as safe with more data shards, would have fitted."""
    got = fitting(wanted, bricks)
    for stronger in (Protection(1, got.m + 1), Protection(got.k + 1, got.m)):
        if stronger.m <= wanted.m and stronger.k <= wanted.k:
            with pytest.raises(BadConfig):
                check_fits(stronger, bricks)


def test_refusal_names_what_is_missing() -> None:
    """Bricks, domains, or both."""
    with pytest.raises(BadConfig, match=r"4\+2 needs 6 bricks, and there are 5; add"):
        check_fits(Protection(4, 2), 5, 5)
    with pytest.raises(BadConfig, match="needs 3 failure domains, and there are 2"):
        check_fits(Protection(4, 2), 6, 2)
    with pytest.raises(BadConfig, match="6 bricks, and there are 2 and 3 failure domains"):
        check_fits(Protection(4, 2), 2)
    with pytest.raises(BadConfig, match="there are none"):
        fitting(Protection(4, 2), 0)


def test_a_domain_holds_at_most_what_may_be_lost() -> None:
    """Two nodes of three bricks hold 2+2, and three of two 4+2; a single node cannot be survived anyhow."""
    assert fitting(Protection(4, 2), 6, 2) == Protection(2, 2)
    assert fitting(Protection(4, 2), 6, 3) == fitting(Protection(4, 2), 6, 1) == Protection(4, 2)
    assert (Protection(4, 2).least_domains, NO_PROTECTION.least_domains) == (3, 1)


def test_overhead() -> None:
    """Bytes on bricks for each byte of data."""
    assert (Protection(4, 2).overhead, Protection(1, 2).overhead) == (1.5, 3.0)
