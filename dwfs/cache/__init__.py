"""What the mount remembers, and what it decides from it: no I/O, no clock, no trio.

Times come in as arguments; plans go out as values, and dwfs.engine performs them.
"""
