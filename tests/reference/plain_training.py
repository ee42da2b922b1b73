"""Retrain and Fine-tune: cross-entropy on D_r, from drawn weights or from the trained ones. One round is one epoch.

Retrain is the definition of the goal. Fine-tune: Golatkar et al. (CVPR 2020); Warnecke et al. (NDSS 2023). Held
against `FT` in Classification/unlearn/FT.py of OPTML-Group/Unlearn-Saliency, three epochs: no bit differs. Which of
the two it is lies in the weights that are given.
"""

from training import Pass, cross_entropy


def train_on_remaining(work, settings):
    """One round is one epoch on D_r."""
    settings.finish()
    while True:
        work.train_epoch(Pass(work.remaining, cross_entropy))
        yield {}
