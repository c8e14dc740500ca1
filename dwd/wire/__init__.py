"""The published protocol: what mounts and the command line say to a daemon, without sockets."""
