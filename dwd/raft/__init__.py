"""Consensus as a machine without I/O: messages, ticks and proposals in; entries to write and to apply out.

Time is ticks, chance is injected, nobody is called back. The shell (a service) owns the loop that node.py describes.
"""
