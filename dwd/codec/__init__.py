"""The bytes that leave the process: pages and records of what lies on disk, frames of what goes over a socket.

Every format is versioned and checksummed. A decoder returns the value or raises, and never guesses.
docs/FORMATS.md lists the layouts; tests/golden/ holds the bytes of every version ever written.
"""
