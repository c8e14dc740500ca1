"""What the cores are owed by the world (ports.py), made of real disks, databases, sockets, clocks and entropy.

Rules: an OSError never leaves this package: it becomes a Fault, or the Refusal that the port names, whose text
says what failed where and what to do. Calls block, unless they say otherwise; services put them in threads.
"""
