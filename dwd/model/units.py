"""Byte units, and reading quantities that people write."""

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40

NS_PER_S: Final = 1_000_000_000


def div_ceil(dividend: int, divisor: int) -> int:
    """Divide and round up."""
    return -(-dividend // divisor)


def round_up(value: int, multiple: int) -> int:
    """The least multiple that is not below value."""
    return div_ceil(value, multiple) * multiple
