"""Boundary Shrink and Boundary Expand.

Chen et al., "Boundary Unlearning" (CVPR 2023). Shrink: the nearest wrong label is what a frozen copy of the trained
network answers to x' = x + epsilon * sign(gradient of CE at x), and the network is fine-tuned on D_f under it.
Expand: one more class takes all of D_f, and is cut off afterwards. Read beside boundary_unlearning.py and
adv_generator.py (`FGSM`) of TY-LEE-KR/Boundary-Unlearning-Code; boundary_sh.py and boundary_ex.py of
OPTML-Group/Unlearn-Saliency were run on the same inputs, three epochs with and without BatchNorm: no bit differs.
Both codes also clamp x' to 0..1 and round it to 1/255, which no equation of the paper says: the setting `projected`.
"""

import copy

import torch
from torch import nn

from faults import planted
from protocol import Malformed
from training import Pass, cross_entropy, infer


def shrink(work, settings):
    """One round is one epoch on D_f."""
    step, projected = settings.get("step", default=0.1), settings.get("projected", default=False)
    settings.finish()
    teacher = copy.deepcopy(work.network)
    if planted("teacher-follows"):
        teacher = work.network

    def loss(network, images, labels):
        return cross_entropy(network, images, nearest_wrong_labels(teacher, images, labels, step, projected))

    while True:
        work.train_epoch(Pass(work.forget, loss))
        yield {}


def nearest_wrong_labels(teacher, images, labels, step, projected):
    """What `teacher` answers, in inference mode, one step of size `step` uphill from each image."""
    if planted("teacher-in-train-mode"):
        teacher = copy.deepcopy(teacher).train()
        return _answer(teacher, images, labels, step, projected)
    with infer(teacher):
        return _answer(teacher, images, labels, step, projected)


def _answer(teacher, images, labels, step, projected):
    images = images.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(cross_entropy(teacher, images, labels), images)
    moved = images.detach() + (-step if planted("step-downhill") else step) * gradient.sign()
    if projected:
        moved = (moved.clamp(0, 1) * 255).round() / 255
    if planted("no-step"):
        moved = images.detach()
    with torch.no_grad():
        return teacher(moved).argmax(dim=1)


def expand(work, settings):
    """One round is one epoch on D_f; the extra row lives on between rounds, and is never part of an answer."""
    settings.finish()
    narrow = work.network.last_layer()
    extra_weight, extra_bias = work.inputs["extra.weight"].to(work.dtype), work.inputs["extra.bias"].to(work.dtype)
    if extra_weight.shape != (1, narrow.in_features) or extra_bias.shape != (1,):
        raise Malformed(f"extra.weight has shape {list(extra_weight.shape)}, not [1, {narrow.in_features}]")
    if planted("extra-row-of-zeros"):
        extra_weight = torch.zeros_like(extra_weight)
    widened = torch.cat([narrow.weight.detach(), extra_weight]), torch.cat([narrow.bias.detach(), extra_bias])
    narrow.weight, narrow.bias = nn.Parameter(widened[0]), nn.Parameter(widened[1])
    work.forget_optimiser_state()
    everything = torch.full_like(work.forget.labels, work.classes)
    data = work.forget.relabelled(work.forget.labels if planted("true-labels") else everything)
    while True:
        work.train_epoch(Pass(data, cross_entropy))
        yield {}
