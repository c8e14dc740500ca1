"""Make shards of a segment in one thread: read whole shards, compute the others, and what goes to the disk with them.

Rules: nothing is computed from bytes that were not verified. Whatever is unusual is left to who asked: a shard that
cannot be read ends it, and so does a thread that was told to. Who waits may go away meanwhile.
"""
