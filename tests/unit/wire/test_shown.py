"""Names on a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from dwd.wire.shown import read_name, shown_name, shown_text


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_names_never_look_the_same(one: bytes, other: bytes) -> None:
    """Two names are shown alike only if they are one, and always printably."""
    assert (shown_name(one) == shown_name(other)) == (one == other)
    assert shown_name(one).isprintable()


def test_escapes_by_example() -> None:
    """Terminal escapes, line ends, bytes that are no UTF-8 and bidirectional marks are spelt out; letters stay."""
    assert shown_name(b"a\x1b[31m\nb\\\xff") == r"a\x1b[31m\x0ab\\\xff"
    assert shown_name("\u202egnp.é".encode()) == "\\u202egnp.é"
    assert shown_name(b"\xc2\x85") == r"\u0085"
    assert shown_name("\U000e0001".encode()) == r"\U000e0001"


@given(st.text(max_size=40))
def test_text_is_made_harmless_once(text: str) -> None:
    """shown_text is idempotent and leaves what can be printed alone."""
    shown = shown_text(text)
    assert shown.isprintable()
    assert shown_text(shown) == shown


@given(st.binary(max_size=40))
def test_a_shown_name_is_read_back(name: bytes) -> None:
    """Whatever bytes a name has, what is shown of it leads back to it; and text that nobody escaped is itself."""
    assert read_name(shown_name(name)) == name


def test_a_backslash_that_nobody_wrote_stands_for_itself() -> None:
    """What shown_name() would not write is no escape."""
    assert read_name(r"\q \x4 \Uffffffff") == rb"\q \x4 \Uffffffff"
