"""NegGrad: gradient ascent on D_f.

Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net" (CVPR 2020), the baseline "Negative Gradient";
Thudi et al. (EuroS&P 2022). Held against `GA` in Classification/unlearn/GA.py of OPTML-Group/Unlearn-Saliency, run
for three epochs on the same inputs, with and without BatchNorm, at a constant rate and with milestones: no bit
differs.

    loss = -CE(f(x), y);  then the optimiser's own step, weight decay included
"""

from training import Pass, cross_entropy


def ascend(work, settings):
    """One round is one epoch on D_f."""
    settings.finish()
    while True:
        work.train_epoch(Pass(work.forget, lambda *batch: -cross_entropy(*batch)))
        yield {}
