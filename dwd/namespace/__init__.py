"""The namespace: a deterministic state machine over an ordered key-value store (D3).

apply() takes a command and its log index and gives an outcome; time, inode numbers, randomness and
placement are in the command. Nothing here does I/O or looks at a clock. A refusal changes nothing.
"""
