"""A thin binding of ISA-L's erasure-coding functions: pointers into the caller's own buffers, no copies.

Rules: nothing here knows what a shard is. Calls go through CDLL, which lets other threads run meanwhile.
The library is the one that the pyeclib wheel carries, or else the system's.
"""

import ctypes
import functools
from collections.abc import Sequence
from ctypes.util import find_library
from importlib import metadata
from typing import Final, TypeAlias

import attrs

from dwd.model.checks import invariant
from dwd.model.errors import Fault

Buffer: TypeAlias = bytes | bytearray | memoryview

_TABLE_BYTES: Final = 32  # that ISA-L expands each coefficient to


@attrs.frozen
class Tables:
    """Coefficients in the form that encode_data wants; how they look depends on the processor."""

    columns: int
    rows: int
    raw: ctypes.Array[ctypes.c_char]


def cauchy_matrix(rows: int, columns: int) -> bytes:
    """An identity on top of a Cauchy matrix, row by row: any `columns` of its rows can be inverted."""
    matrix = ctypes.create_string_buffer(rows * columns)
    _library().gf_gen_cauchy1_matrix(matrix, rows, columns)
    return matrix.raw


def invert_matrix(matrix: bytes, size: int) -> bytes:
    """The inverse over GF(256)."""
    scratch = ctypes.create_string_buffer(matrix, len(matrix))  # ISA-L destroys its input
    inverse = ctypes.create_string_buffer(len(matrix))
    status = _library().gf_invert_matrix(scratch, inverse, size)
    invariant(status == 0, "E4", f"a singular matrix: {matrix.hex()}")
    return inverse.raw


def init_tables(coefficients: bytes, columns: int) -> Tables:
    """Expand rows of coefficients."""
    rows = len(coefficients) // columns
    raw = ctypes.create_string_buffer(_TABLE_BYTES * rows * columns)
    _library().ec_init_tables(columns, rows, coefficients, raw)
    return Tables(columns=columns, rows=rows, raw=raw)


def encode_data(tables: Tables, sources: Sequence[Buffer], targets: Sequence[Buffer], length: int) -> None:
    """Set target r to the sum of coefficient[r][c] * source c, for the first `length` bytes of each.

    Targets must be writable. A source that is a read-only memoryview is copied; nothing else is.
    """
    invariant(len(sources) == tables.columns and len(targets) == tables.rows, "E5", (len(sources), len(targets)))
    for buffer in (*sources, *targets):
        invariant(len(buffer) >= length, "E5", (len(buffer), length))
    if length == 0:
        return
    anchored_sources = [_anchor(source) for source in sources]
    anchored_targets = [ctypes.c_char.from_buffer(target) for target in targets]
    _library().ec_encode_data(
        length, tables.columns, tables.rows, tables.raw, _pointers(anchored_sources), _pointers(anchored_targets)
    )


_Anchor: TypeAlias = ctypes.c_char | ctypes.c_char_p  # keeps its buffer alive and in place


def _anchor(buffer: Buffer) -> _Anchor:
    if isinstance(buffer, bytes):
        return ctypes.c_char_p(buffer)
    if isinstance(buffer, memoryview) and buffer.readonly:
        return ctypes.c_char_p(bytes(buffer))
    return ctypes.c_char.from_buffer(buffer)


def _pointers(anchors: Sequence[_Anchor]) -> ctypes.Array[ctypes.c_void_p]:
    addresses = [
        ctypes.cast(anchor, ctypes.c_void_p).value if isinstance(anchor, ctypes.c_char_p) else ctypes.addressof(anchor)
        for anchor in anchors
    ]
    return (ctypes.c_void_p * len(anchors))(*addresses)


@functools.cache
def _library() -> ctypes.CDLL:
    path = _bundled() or find_library("isal")
    if path is None:
        raise Fault("the erasure-coding library libisal is missing: install the Python package pyeclib (or libisal2)")
    try:
        library = ctypes.CDLL(path)
        _declare(library)
    except (OSError, AttributeError) as error:
        raise Fault(f"the erasure-coding library {path} cannot be used: {error}; reinstall pyeclib") from error
    return library


def _bundled() -> str | None:
    try:
        files = metadata.files("pyeclib") or []
    except metadata.PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.name.startswith("libisal") and ".so" in file.name), None)


def _declare(library: ctypes.CDLL) -> None:
    integer, pointer = ctypes.c_int, ctypes.c_void_p
    for name, arguments in {
        "gf_gen_cauchy1_matrix": (pointer, integer, integer),
        "gf_invert_matrix": (pointer, pointer, integer),
        "ec_init_tables": (integer, integer, pointer, pointer),
        "ec_encode_data": (integer, integer, integer, pointer, pointer, pointer),
    }.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = integer if name == "gf_invert_matrix" else None
