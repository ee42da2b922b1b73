"""Gradients of all of a data set at once, and which coordinates they pick.

Everything here is in inference mode: BatchNorm uses its running statistics, so a sample's gradient does not depend
on what stands beside it.
"""

import torch
from torch.nn import functional

from faults import planted
from training import infer


def sum_gradients(work, data):
    """Sum over the samples of the gradient of cross-entropy, by name, for everything that trains."""
    with infer(work.network):
        weights = work.trained()
        sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for images, labels in zip(data.images.split(work.batch_size), data.labels.split(work.batch_size)):
            loss = functional.cross_entropy(work.network(images), labels, reduction="sum")
            for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values()))):
                sums[name] += gradient.abs() if planted("absolute-before-sum") else gradient
    return sums


def pick_largest(sums, share):
    """Masks of the floor(share * n) coordinates with the largest |sum|, one threshold over all tensors, and its gap.

    The gap is told because a coordinate at the threshold may fall on either side by rounding alone: it is the relative
    distance between the last that is in and the first that is out, and a comparison wants it well above 1e-5.
    """
    sizes = torch.cat([total.abs().flatten() for total in sums.values()])
    count = int(sizes.numel() * share)
    ranked = sizes.sort(descending=True).values
    if planted("missing-mask") or count >= sizes.numel():
        return {name: torch.ones_like(total, dtype=torch.bool) for name, total in sums.items()}, {"kept": sizes.numel()}
    if planted("mask-by-tensor"):
        return {name: _largest_of(total.abs(), int(total.numel() * share)) for name, total in sums.items()}, {}
    threshold, below = ranked[count - 1], ranked[count]
    masks = {name: total.abs() >= threshold for name, total in sums.items()}
    if planted("mask-inverted"):
        masks = {name: ~mask for name, mask in masks.items()}
    return masks, {
        "kept": count,
        "gap": float((threshold - below) / threshold),
        "threshold": float(threshold),
        "at-threshold": int((sizes == threshold).sum()),
    }


def _largest_of(sizes, count):
    mask = torch.zeros_like(sizes, dtype=torch.bool).flatten()
    mask[sizes.flatten().argsort(descending=True)[:count]] = True
    return mask.reshape(sizes.shape)


def mean_squared_gradients(work, data, labels_of):
    """Mean over samples of the squared gradient of one sample's cross-entropy: a Fisher information's diagonal.

    `labels_of(logits, label)` lists pairs (label, weight): for each the squared gradient counts `weight` times.
    """
    with infer(work.network):
        weights = work.trained()
        totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for image, label in zip(data.images, data.labels):
            logits = work.network(image[None])
            losses = -functional.log_softmax(logits, dim=1)[0]
            for other, weight in labels_of(logits[0].detach(), int(label)):
                gradients = torch.autograd.grad(losses[other], list(weights.values()), retain_graph=True)
                for name, gradient in zip(weights, gradients):
                    totals[name] += weight * (gradient if planted("mean-before-square") else gradient**2)
    means = {name: total / len(data) for name, total in totals.items()}
    return {name: mean**2 for name, mean in means.items()} if planted("mean-before-square") else means
