"""The storage daemon: one trio process a node, which owns everything durable.

Start at docs/ARCHITECTURE.md; the layers and what each may import are in pyproject.toml.
"""
