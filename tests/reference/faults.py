"""Faults that are planted on purpose, to show that a comparison with the reference would find them.

A reference asks `planted("wrong-sign")` at the one place where that mistake could be made; it is true only in a run
that was told `--plant wrong-sign`. Which faults a case can have is said beside each reference, never here.
"""

_planted = None


def plant(fault):
    """Makes every later `planted(fault)` true; `None` heals."""
    global _planted
    _planted = fault


def planted(fault):
    """Whether this very fault is to be made."""
    return _planted == fault
