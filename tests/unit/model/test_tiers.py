import msgspec
import pytest

from dwd.model.errors import BadConfig
from dwd.model.protection import PROFILES, Protection
from dwd.model.tiers import Availability, Tier, choose_policy, parse_availability, parse_tier
from dwd.model.topology import Level


@pytest.mark.parametrize(
    ("text", "tier"), [("smb", Tier.SMB), (" High_Stakes", Tier.HIGH_STAKES), ("HighStakes", Tier.HIGH_STAKES)]
)
def test_tiers_are_read(text: str, tier: Tier) -> None:
    """In any case, with any joint."""
    assert parse_tier(text) is tier
    assert all(parse_tier(tier.value) is tier for tier in Tier)
    assert all(parse_availability(level.name) is level for level in Availability)


def test_unknown_words_are_refused_with_the_known_ones() -> None:
    """The refusal lists what there is."""
    with pytest.raises(BadConfig, match="tier 'gold' is none of individual, smb"):
        parse_tier("gold")
    with pytest.raises(BadConfig, match="availability '5 nines' is none of single"):
        parse_availability("5 nines")


def test_config_files_may_name_a_tier() -> None:
    """A settings file decodes straight into the words."""
    assert msgspec.toml.decode(b'tier = "high-stakes"', type=dict[str, Tier]) == {"tier": Tier.HIGH_STAKES}


@pytest.mark.parametrize("tier", Tier)
def test_defaults_are_profiles(tier: Tier) -> None:
    """Each tier has a mode of the list, that survives the loss of two bricks or more."""
    policy = choose_policy(tier)
    assert policy.protection in PROFILES
    assert policy.protection.m >= 2
    assert policy.scrub_days <= 14


def test_availability_names_what_may_fail() -> None:
    """From a brick to a region."""
    levels = [choose_policy(Tier.SMB, availability).level for availability in Availability]
    assert levels == [Level.BRICK, Level.NODE, Level.RACK, Level.REGION]


def test_users_have_the_last_word() -> None:
    """What was said goes before tier and availability."""
    policy = choose_policy(
        Tier.HYPERSCALE,
        Availability.GLOBAL,
        protection=Protection(1, 2),
        level=Level.NODE,
        scrub_days=3,
        metadata_mirrors=5,
    )
    assert (policy.protection, policy.level, policy.scrub_days, policy.metadata_mirrors) == (
        Protection(1, 2),
        Level.NODE,
        3,
        5,
    )


@pytest.mark.parametrize(
    "wrong", [{"scrub_days": 0}, {"scrub_days": 4000}, {"metadata_mirrors": 0}, {"metadata_mirrors": 33}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    """The refusal names the setting."""
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        choose_policy(Tier.SMB, **wrong)  # type: ignore[arg-type]
