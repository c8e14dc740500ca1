import ctypes.util
from collections.abc import Iterator
from importlib import metadata

import pytest

from dwd.ec import isal
from dwd.model.checks import InvariantViolated
from dwd.model.errors import Fault


@pytest.fixture
def no_library_loaded() -> Iterator[None]:
    """Make the next call look for the library, and the next test too."""
    isal._library.cache_clear()
    yield
    isal._library.cache_clear()


def test_the_bundled_library_is_found() -> None:
    """The wheel's libisal is used where pyeclib is installed."""
    path = isal._bundled()
    assert path is not None
    assert "libisal" in path


def test_missing_library_is_a_fault_that_says_what_to_install(
    no_library_loaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyeclib and without a system library the Fault names the remedy."""

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    monkeypatch.setattr(isal, "find_library", lambda name: None)
    with pytest.raises(Fault, match="install the Python package pyeclib"):
        isal.cauchy_matrix(6, 4)


def test_wrong_library_is_a_fault_that_names_it(no_library_loaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library without ISA-L's functions is refused by name, not called."""
    libc = ctypes.util.find_library("c")
    monkeypatch.setattr(isal, "_bundled", lambda: libc)
    with pytest.raises(Fault, match=rf"{libc} cannot be used.*gf_gen_cauchy1_matrix"):
        isal.cauchy_matrix(6, 4)


def test_inverse_of_identity() -> None:
    """The inverse of the identity is the identity, and the input bytes stay as they were."""
    identity = bytes([1, 0, 0, 0, 1, 0, 0, 0, 1])
    assert isal.invert_matrix(identity, 3) == identity


def test_singular_matrix_stops_the_process() -> None:
    """A matrix without an inverse is a bug (E4), never a guess."""
    with pytest.raises(InvariantViolated, match="E4"):
        isal.invert_matrix(bytes([1, 1, 1, 1]), 2)


@pytest.mark.parametrize(("sources", "targets"), [(1, 1), (3, 1), (2, 0), (2, 2)])
def test_wrong_number_of_buffers_never_reaches_the_library(sources: int, targets: int) -> None:
    """Pointers that the library would read or write without our having given them are refused (E5)."""
    tables = isal.init_tables(bytes([1, 1]), 2)
    with pytest.raises(InvariantViolated, match="E5"):
        isal.encode_data(tables, [bytes(8)] * sources, [bytearray(8)] * targets, 8)


def test_short_buffer_never_reaches_the_library() -> None:
    """A buffer shorter than the length is refused (E5): the library would run past its end."""
    tables = isal.init_tables(bytes([1, 1]), 2)
    with pytest.raises(InvariantViolated, match="E5"):
        isal.encode_data(tables, [bytes(8), bytes(7)], [bytearray(8)], 8)
    with pytest.raises(InvariantViolated, match="E5"):
        isal.encode_data(tables, [bytes(8), bytes(8)], [bytearray(7)], 8)


def test_every_kind_of_buffer_can_be_a_source() -> None:
    """bytes, bytearray, writable and read-only views, also of the middle of a buffer, give the same sum."""
    tables = isal.init_tables(bytes([1, 1]), 2)
    first, second = bytes(range(100, 140)), bytes(range(40))
    padded = b"???" + second + b"???"
    expected = bytes(a ^ b for a, b in zip(first, second, strict=True))
    for source in (second, bytearray(second), memoryview(padded)[3:43], memoryview(bytearray(padded))[3:43]):
        target = bytearray(40)
        isal.encode_data(tables, [first, source], [target], 40)
        assert bytes(target) == expected
