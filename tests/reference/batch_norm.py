"""What becomes of BatchNorm while a network unlearns, by policy.

| policy          | mode while training | scale and shift | statistics                                     |
|-----------------|---------------------|-----------------|------------------------------------------------|
| frozen          | inference           | stay            | stay                                           |
| inference       | inference           | train           | stay                                           |
| train           | training            | train           | running average, momentum 0.1                  |
| recompute       | inference           | train           | taken anew after each round                    |
| train-recompute | training            | train           | running average, and anew after each round     |

Ioffe and Szegedy, "Batch Normalization" (ICML 2015): training mode is algorithm 1, statistics taken anew are
algorithm 2, lines 8 to 10 (unbiased variance, averaged over batches); the latter as torch.optim.swa_utils.update_bn
(run on equal batches: no bit differs).
"""

import numpy
import torch

from faults import planted
from networks import batch_norms, build_network, list_statistics
from protocol import Malformed

POLICIES = ("frozen", "inference", "train", "recompute", "train-recompute")
FAULTS = ["biased-variance", "running-average", "inference-mode", "unequal-parts", "order-ignored"]


def list_faults(case, inputs):
    """The faults that can show in this case."""
    count, batch = len(inputs["images"]), case["batch-size"]
    known = ["biased-variance", "running-average", "inference-mode"]
    return known + (["order-ignored"] if count > batch else []) + (["unequal-parts"] if count % batch else [])


def enter_training_mode(network, policy):
    """Sets modes, and what requires a gradient, as `policy` says. Everything else trains."""
    if policy not in POLICIES:
        raise Malformed(f"forward.batch-norm is {policy!r}, not one of {', '.join(POLICIES)}")
    if planted("statistics-from-another-policy"):
        policy = {
            "frozen": "train",
            "inference": "train",
            "train": "inference",
            "recompute": "inference",
            "train-recompute": "recompute",
        }[policy]
    network.train()
    for layer in batch_norms(network):
        layer.train(policy in ("train", "train-recompute"))
        layer.weight.requires_grad_(policy != "frozen" or planted("scale-and-shift-train"))
        layer.bias.requires_grad_(policy != "frozen" or planted("scale-and-shift-train"))


def recomputes(policy):
    """Whether statistics are taken anew after each round."""
    if planted("statistics-from-another-policy"):
        return policy not in ("recompute", "train-recompute")
    return policy in ("recompute", "train-recompute")


def recompute_statistics(network, images, batch_size, order):
    """Replaces all running statistics by the mean over nearly equal batches of batch mean and unbiased variance.

    `images` [n, ...] are taken in `order` [n] and cut into ceil(n / batch_size) parts whose sizes differ by one at
    most, smaller ones first. Each layer sees what the layers before it make of the batch in training mode.
    """
    if planted("order-ignored"):
        order = torch.arange(len(order))
    count = -(-len(order) // batch_size)
    sizes = [len(order) // count + (place >= count - len(order) % count) for place in range(count)]
    parts = numpy.split(order.numpy(), numpy.cumsum(sizes)[:-1])
    if planted("unequal-parts"):
        parts = [part.numpy() for part in order.split(batch_size)]
    layers = batch_norms(network)
    modes = [layer.training for layer in layers]
    for layer in layers:
        layer.train(not planted("inference-mode"))
        layer.momentum = 0.1 if planted("running-average") else None
        layer.reset_running_stats()
    with torch.no_grad():
        for part in parts:
            if planted("biased-variance"):
                _observe_biased(network, layers, images[torch.from_numpy(part)])
            else:
                network(images[torch.from_numpy(part)])
    for layer, mode in zip(layers, modes):
        layer.momentum = 0.1
        layer.train(mode)


def _observe_biased(network, layers, images):
    """The mistake of dividing by n instead of n - 1."""
    hooks = [layer.register_forward_hook(_shrink_last_variance) for layer in layers]
    network(images)
    for hook in hooks:
        hook.remove()


def _shrink_last_variance(layer, arguments, _result):
    (images,) = arguments
    count, seen = images.numel() / images.shape[1], int(layer.num_batches_tracked)
    layer.running_var -= images.var(dim=(0, 2, 3), unbiased=True) / count / seen


def compute(case, inputs):
    """Kind `batch-norm`: the statistics that recomputing on `images` leaves."""
    dtype = getattr(torch, case.get("dtype", "float32"))
    network = build_network(case["network"], inputs, dtype)
    recompute_statistics(network, inputs["images"].to(dtype), case["batch-size"], inputs["order.recompute"])
    return {f"buffers.{name}": tensor for name, tensor in list_statistics(network).items()}, {}
