"""The mount: a FUSE file system that talks to its local daemon and holds nothing that cannot be lost.

Layers, from the top: cli and app (composition), operations (the pyfuse3 edge), engine (performs plans),
client (the wire), handles and cache (pure). docs/ARCHITECTURE.md has the picture.
"""
