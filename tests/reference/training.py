"""What all methods share: batches in a given order, a rate by schedule, one optimiser, BatchNorm by policy.

No paper: the plain loop of minibatch training. A *pass* goes once over some data; an *epoch* of a method is one or
more passes that share the schedule's epoch (SalUn goes over D_f, then over D_r). A *round* ends where the method's
weights are looked at.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from batch_norm import enter_training_mode, recompute_statistics, recomputes
from faults import planted
from networks import batch_norms, build_network, list_weights
from optimisers import build_optimiser, decays_one_dimensional, set_rates
from protocol import Malformed, Settings
from schedules import factor_at, list_schedule_faults


@dataclass
class Data:
    """Images [n, channels, height, width] and labels [n]."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self):
        return len(self.labels)

    def relabelled(self, labels):
        """The same images under other labels."""
        return Data(self.images, labels)

    def joined(self, other):
        """These samples, then the other ones."""
        return Data(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))


@dataclass
class Pass:
    """Once over `data` in the order drawn for it; `loss(network, images, labels)` is made small batch by batch."""

    data: Data
    loss: object
    batch_size: int | None = None


def cross_entropy(network, images, labels):
    """Mean cross-entropy of a batch. A smaller last batch has its own mean."""
    return functional.cross_entropy(network(images), labels)


class Work:
    """One unlearning step in progress: network, data, optimiser, and how far the drawn inputs have been used."""

    def __init__(self, case, inputs, epochs):
        self.inputs, self.dtype = inputs, getattr(torch, case.get("dtype", "float32"))
        self.network = build_network(case["network"], inputs, self.dtype)
        self.classes, self.epochs = case["classes"], epochs
        forward = Settings(case["forward"], "forward")
        self.rule = forward.get("optimiser", default={"sgd": {"learning-rate": 0.0}})
        self.batch_size = forward.get("batch-size", required=True)
        self.policy = forward.get("batch-norm", default="inference")
        self.schedule = forward.get("schedule", default="constant")
        forward.finish()
        self.forget, self.remaining = self._read("forget"), self._read("remaining")
        self.epoch = self.passes = self.noisings = self.labellings = 0
        self.kept = None  # by name, which coordinates may move; None: all
        enter_training_mode(self.network, self.policy)
        self.forget_optimiser_state()

    def _read(self, name):
        if f"{name}.images" not in self.inputs:
            return None
        return Data(self.inputs[f"{name}.images"].to(self.dtype), self.inputs[f"{name}.labels"])

    def trained(self):
        """Name and parameter of all weights that the policy lets train: what is recorded, masked, rewound, noised."""
        return {name: weight for name, weight in list_weights(self.network).items() if weight.requires_grad}

    def forget_optimiser_state(self):
        """A new optimiser, for the first round or where each round resets it."""
        weights = list(self.trained().values())
        decays = decays_one_dimensional(self.rule)
        self.optimiser = build_optimiser(
            self.rule,
            [w for w in weights if decays or w.dim() > 1],
            [w for w in weights if not decays and w.dim() <= 1],
        )

    def draw_labels(self, once=False):
        """The labels [forget] drawn for the next epoch that needs some, or always the first ones."""
        index = 0 if once or planted("labels-of-first-epoch") else self.labellings
        self.labellings += 1
        return self.inputs[f"labels.{index}"]

    def draw_noise(self):
        """Standard normal numbers for every tensor that trains, for the next noising."""
        noise = {name: self.inputs[f"noise.{self.noisings}.{name}"].to(self.dtype) for name in self.trained()}
        self.noisings += 1
        return noise

    def train_epoch(self, *passes):
        """The passes of one epoch, one after the other, then on to the schedule's next epoch."""
        batches = [self._next_batches(one) for one in passes]
        total, done = sum(map(len, batches)), 0
        for one, positions in zip(passes, batches):
            for batch in positions:
                set_rates(self.optimiser, factor_at(self.schedule, self.epoch, done, total, self.epochs))
                self._step(one, batch)
                done += 1
        self.epoch += 1

    def _next_batches(self, one):
        order = self.inputs[f"order.{self.passes}"]
        self.passes += 1
        if len(order) != len(one.data) or not torch.equal(order.sort().values, torch.arange(len(order))):
            raise Malformed(f"order.{self.passes - 1} is no permutation of {len(one.data)} positions")
        if planted("order-ignored"):
            order = torch.arange(len(order))
        return order.split(one.batch_size or self.batch_size)

    def _step(self, one, batch):
        before = {name: weight.detach().clone() for name, weight in self.trained().items()} if self.kept else {}
        self.optimiser.zero_grad()
        loss = one.loss(self.network, one.data.images[batch], one.data.labels[batch])
        if planted("last-batch-weighs-less"):
            loss = loss * len(batch) / (one.batch_size or self.batch_size)
        (-loss if planted("wrong-sign") else loss).backward()
        if self.kept:
            for name, weight in self.trained().items():
                weight.grad *= self.kept[name]
        self.optimiser.step()
        if self.kept and not planted("mask-on-gradient-only"):
            with torch.no_grad():
                for name, weight in self.trained().items():
                    weight.copy_(torch.where(self.kept[name], weight, before[name]))

    def finish_round(self, index, reads_remaining):
        """Statistics taken anew where the policy says so: on D_r if the method reads it, else on D_f."""
        if not recomputes(self.policy):
            return
        data = self.remaining if reads_remaining != planted("statistics-of-other-data") else self.forget
        name = f"order.recompute.{index}" if f"order.recompute.{index}" in self.inputs else "order.recompute"
        order = self.inputs[name]
        if len(order) != len(data):
            if not planted("statistics-of-other-data") and not planted("statistics-from-another-policy"):
                raise Malformed(f"{name} has {len(order)} positions for {len(data)} samples")
            order = torch.arange(len(data))
        recompute_statistics(self.network, data.images, self.batch_size, order)


def infer(network):
    """A context in which BatchNorm uses its running statistics, whatever the policy's mode while training is."""
    return _Inference(network)


class _Inference:
    def __init__(self, network):
        self.layers = batch_norms(network)

    def __enter__(self):
        self.modes = [layer.training for layer in self.layers]
        for layer in self.layers:
            layer.eval()

    def __exit__(self, *_):
        for layer, mode in zip(self.layers, self.modes):
            layer.train(mode)


def list_training_faults(case, inputs, passes_over):
    """The faults of the loop itself that can show in a case whose passes go over data sets of these sizes."""
    forward = case["forward"]
    ((name, table),) = forward["optimiser"].items()
    known = ["wrong-sign", "order-ignored"] + list_schedule_faults(forward.get("schedule", "constant"))
    if table.get("weight-decay", 0):
        known.append("decay-forgotten")
    if name == "sgd" and table.get("momentum", 0):
        known.append("momentum-forgotten")
    if name == "sgd" and any(count % size for count, size in passes_over):
        known.append("last-batch-weighs-less")
    return known + list_batch_norm_faults(case, inputs)


def list_batch_norm_faults(case, inputs):
    """The faults of BatchNorm's policy that can show in a case."""
    policy = case["forward"].get("batch-norm", "inference")
    if not inputs.under("buffers."):
        return []
    known = ["statistics-from-another-policy"] + (["scale-and-shift-train"] if policy == "frozen" else [])
    if policy in ("recompute", "train-recompute"):
        known += ["biased-variance", "running-average", "inference-mode"]
        known += ["statistics-of-other-data"] if "remaining.images" in inputs and "forget.images" in inputs else []
    return known
