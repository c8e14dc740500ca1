"""Fair shares: what each of many weighted takers gets of a total, when none may take less or more than its bounds.

Rules: shares are as the weights wherever no bound is in the way.
"""

from collections.abc import Sequence
from typing import Final

_ROUNDS: Final = 64  # halvings: more than a float has bits of mantissa


def fair_shares(weights: Sequence[float], total: float, least: Sequence[float], most: Sequence[float]) -> list[float]:
    """Shares that add up to the total, or to what the bounds allow. Weights are above 0."""
    if not weights:
        return []
    even = total / sum(weights)
    plain = [even * weight for weight in weights]
    if all(low <= share <= high for low, share, high in zip(least, plain, most, strict=True)):
        return plain
    below, above = 0.0, max(high / weight for high, weight in zip(most, weights, strict=True))
    for _ in range(_ROUNDS):
        rate = (below + above) / 2
        if sum(_clamped(rate, weights, least, most)) < total:
            below = rate
        else:
            above = rate
    return _clamped(above, weights, least, most)


def _clamped(rate: float, weights: Sequence[float], least: Sequence[float], most: Sequence[float]) -> list[float]:
    return [min(max(rate * weight, low), high) for weight, low, high in zip(weights, least, most, strict=True)]
