import pytest

from dwd.model.errors import BadConfig
from dwd.model.ids import BrickId, NodeId
from dwd.model.topology import Domain, Level, Standing, default_domain, parse_domain


def test_domains_are_read_back() -> None:
    """The text of a domain is its spelling."""
    domain = Domain("eu-west", "r12", "node_3.example")
    assert parse_domain(domain.text) == domain
    assert parse_domain(default_domain(NodeId(7)).text).node == "7"


@pytest.mark.parametrize("text", ["", "a", "a/b", "a/b/c/d", "a//c", "a/b/", "a/b/ü", "a/b/" + "c" * 65, "a/.b/c"])
def test_what_is_no_domain(text: str) -> None:
    """It has three parts, and each is a name: the refusal shows what was written."""
    with pytest.raises(BadConfig, match="failure domain"):
        parse_domain(text)


def test_what_is_lost_together() -> None:
    """Bricks of two nodes share a rack and a region, but not a node; no brick shares its brick."""
    one, two = Domain("r", "k", "1"), Domain("r", "k", "2")
    shared = [level for level in Level if one.at(level, BrickId(1)) == two.at(level, BrickId(2))]
    assert shared == [Level.REGION, Level.RACK]
    assert one.at(Level.NODE, BrickId(1)) == one.at(Level.NODE, BrickId(2)) == "r/k/1"
    assert one.at(Level.BRICK, BrickId(1)) != one.at(Level.BRICK, BrickId(2))


def test_same_name_elsewhere_is_another_domain() -> None:
    """Node 1 of one rack is not node 1 of another."""
    assert Domain("r", "a", "1").at(Level.NODE, BrickId(1)) != Domain("r", "b", "1").at(Level.NODE, BrickId(1))


def test_standings() -> None:
    """Only active bricks take new shards, and all but removed ones are read. The numbers are on disk."""
    assert [int(standing) for standing in Standing] == [1, 2, 3, 4]
    assert [standing for standing in Standing if standing.takes_new] == [Standing.ACTIVE]
    assert [standing for standing in Standing if not standing.readable] == [Standing.REMOVED]
