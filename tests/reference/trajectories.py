"""Rewinding and Task Vector: train forward on D_f, then step back from the first snapshot.

Rewinding: Jang, Kim, Youn, "Learning to Rewind via Iterative Prediction of Past Weights" (AAAI 2025), algorithm 1.
Read beside InvWNN_Unlearning_ResNet_LabelNoise.py of jjh6297/InvWNN: warm-up, then fifteen times a snapshot
*followed by* an epoch (whose last one changes nothing but the optimiser's state), then every trainable tensor is
replaced by its oldest snapshot plus the network's answer; the optimiser lives on. Its network was run: see
predictors.py.

Task Vector: Ilharco et al., "Editing Models with Task Arithmetic" (ICLR 2023), forgetting via negation: theta -
lambda * (theta_ft - theta). Held against src/task_vectors.py of mlfoundations/task_vectors (`-TaskVector` applied
with a coefficient) behind three epochs of PyTorch's own SGD: no bit differs. Here theta is the first snapshot and
theta_ft the last.
"""

import torch

from faults import planted
from networks import operation_type
from predictors import predict_residual
from protocol import Settings
from training import Pass, cross_entropy


def count_epochs(table):
    """Epochs of one round of this method table."""
    trajectory = table["trajectory"]
    trained = trajectory["snapshots"] - (trajectory.get("last-epoch", "skip") == "skip")
    return trajectory.get("warm-up-epochs", 0) + trained


class Trajectory:
    """How one round's snapshots are made."""

    def __init__(self, work, table):
        settings = Settings(table, "method.trajectory")
        self.work, self.snapshots = work, settings.get("snapshots", required=True)
        self.warm_up = settings.get("warm-up-epochs", default=0)
        self.last_epoch = settings.one_of("last-epoch", ("skip", "paper"), default="skip")
        self.state = settings.one_of("optimiser-state", ("keep", "reset"), default="keep")
        settings.finish()

    def record(self):
        """By tensor, its snapshots [K, ...], oldest first."""
        if (self.state == "reset") != planted("optimiser-state-of-other-option"):
            self.work.forget_optimiser_state()
        start = self._look()
        for _ in range(self.warm_up):
            self._train()
        snapshots = []
        for index in range(self.snapshots):
            snapshots.append(start if index == 0 and planted("warm-up-recorded") else self._look())
            if index + 1 < self.snapshots or self.last_epoch == "paper":
                self._train()
        if planted("snapshot-after-epoch"):
            snapshots = snapshots[1:] + [self._look()]
        return {name: torch.stack([one[name] for one in snapshots]) for name in start}

    def _train(self):
        self.work.train_epoch(Pass(self.work.forget, cross_entropy))

    def _look(self):
        return {name: weight.detach().clone() for name, weight in self.work.trained().items()}


def rewind(work, settings):
    """theta = Phi_0 + scale * (the network's answer), tensor by tensor."""
    scale, horizon = settings.get("scale", default=1.0), settings.get("horizon", default=3)
    trajectory = Trajectory(work, settings.get("trajectory", required=True))
    settings.finish()
    architecture = work.architecture
    predictors = {
        kind: {name: tensor.to(work.dtype) for name, tensor in parameters.items()}
        for kind in ("convolution", "fully-connected", "bias")
        if (parameters := work.inputs.under(f"predictor.{kind}."))
    }
    while True:
        for name, snapshots in trajectory.record().items():
            kind = "convolution" if planted("one-predictor-for-all") else operation_type(snapshots[0])
            window = snapshots.flatten(1).T  # [coordinates, K]
            residual = predict_residual(architecture, predictors[kind], window, horizon)
            residual = residual.reshape(snapshots[0].shape)
            _place(work, name, snapshots[-1 if planted("added-to-newest") else 0], scale * residual)
        yield {}


def subtract_task_vector(work, settings):
    """theta = Phi_0 - lambda * (Phi_last - Phi_0), lambda a number or one for each operation type."""
    weight = settings.get("lambda", required=True)
    trajectory = Trajectory(work, settings.get("trajectory", required=True))
    settings.finish()
    others = {"convolution": "fully-connected", "fully-connected": "bias", "bias": "convolution"}
    while True:
        for name, snapshots in trajectory.record().items():
            kind = operation_type(snapshots[0])
            if planted("lambda-on-wrong-type"):
                kind = others[kind]
            factor = weight[kind] if isinstance(weight, dict) else weight
            base = snapshots[-1 if planted("subtracted-from-newest") else 0]
            _place(work, name, base, -factor * (snapshots[-1] - snapshots[0]))
        yield {}


def _place(work, name, base, change):
    with torch.no_grad():
        work.trained()[name].copy_(base + (-change if planted("residual-of-wrong-sign") else change))
