"""Performs what the file system does: asks the daemon, keeps the caches true, sends what is dirty.

Errors are Refusals and Faults; only dwfs.errno_map turns them into an errno.
"""
