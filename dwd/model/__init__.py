"""The nouns: ids, units, limits, failures, and the values that every layer speaks of.

Frozen values with arithmetic on themselves only: no I/O, no clock, no randomness.
"""
