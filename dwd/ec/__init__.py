"""Erasure coding: a segment cut into k shards, m parity shards computed, lost shards recomputed (D7).

The code is systematic and works byte by byte: shard i holds bytes [i*L, (i+1)*L) of the segment, and any
range of k shards gives the same range of any other. Start with layout.py, then reed_solomon.py; isal.py is
the only file that knows of the C library.
"""
