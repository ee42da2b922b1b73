"""WNN at work: training on D_r that jumps ahead after every fifth epoch.

Jang, Yun, Kim, Youn, "Learning to Boost Training by Periodic Nowcasting Near Future Weights" (ICML 2023). Read
beside the callback `WeightForecasting` in CNN/WNN.py of jjh6297/WNN: a snapshot at the end of each epoch, and at the
end of each fifth one the prediction from the last five takes the place of the weights; the optimiser lives on.
Layers with four arrays (BatchNorm) are left out, scale and shift too. The code's bias branch adds the raw newest
value inside the scaled sum; here all three types follow the form of the other two.
"""

import torch

from faults import planted
from networks import batch_norms, operation_type
from predictors import nowcast
from training import Pass, cross_entropy


def train_with_nowcasting(work, settings):
    """One round is one epoch on D_r, with the jump where one falls due."""
    every = settings.get("every", default=5)
    settings.finish()
    norms = {id(weight) for layer in batch_norms(work.network) for weight in layer.parameters()}
    snapshots = []
    while True:
        if planted("snapshot-before-epoch"):
            snapshots.append(_look(work))
        work.train_epoch(Pass(work.remaining, cross_entropy))
        if not planted("snapshot-before-epoch"):
            snapshots.append(_look(work))
        if len(snapshots) == every and not planted("never-jumps"):
            for name, weight in work.trained().items():
                if id(weight) not in norms or planted("norms-nowcast"):
                    _jump(work, weight, torch.stack([one[name] for one in snapshots]))
        snapshots = snapshots if len(snapshots) < every else []
        yield {}


def _look(work):
    return {name: weight.detach().clone() for name, weight in work.trained().items()}


def _jump(work, weight, snapshots):
    parameters = work.inputs.under(f"predictor.{operation_type(weight)}.")
    parameters = {name: tensor.to(work.dtype) for name, tensor in parameters.items()}
    with torch.no_grad():
        weight.copy_(nowcast(parameters, snapshots.flatten(1).T).reshape(weight.shape))
