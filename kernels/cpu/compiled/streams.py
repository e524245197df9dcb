"""Weights are asked for at some places in turns, because the CPU reads on by itself behind each of them.

One place alone keeps too few lines on their way while a core multiplies: a line of memory comes late, and the
CPU reads a fixed number of lines ahead of what was asked for.
"""

STREAMS = 4  # places
LINE = 64  # bytes
