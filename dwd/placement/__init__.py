"""Pure planners over bricks: which of them take a segment's shards, and how much room that leaves (D8).

The segment record names the bricks that were chosen, so these rules may improve without moving any data.
"""
