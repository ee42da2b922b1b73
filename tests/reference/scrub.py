"""SCRUB.

Kurmanji et al., "Towards Unbounded Machine Unlearning" (NeurIPS 2023), equation 3 and algorithm 1: while the ascent
lasts, each epoch first maximises KL(teacher || student) on D_f; then it minimises gamma * CE + alpha * KL on D_r.
Held against `train_distill` (thirdparty/repdistiller/helper/loops.py), `DistillKL` (distiller_zoo/KD.py: sum over
classes, mean over the batch, times T^2), `adjust_learning_rate` and the loop of large_scale_unlearning.ipynb in
meghdadk/SCRUB, run for seven epochs on the same inputs, with and without BatchNorm: no bit differs. Ascent comes
before descent, the teacher is in inference mode, and each data set has its own batch size. The rate falls tenfold
when the epoch, counted from 1, is *greater* than 3 and 5: milestones [3, 5] when counted from 0, as here. An epoch's
passes share the schedule's epoch.
"""

import copy

import torch
from torch.nn import functional

from faults import planted
from training import Pass, infer


def scrub(work, settings):
    """One round is one epoch: over D_f while the ascent lasts, then over D_r."""
    gamma, alpha = settings.get("gamma", default=1.0), settings.get("alpha", default=0.5)
    temperature, ascents = settings.get("temperature", default=4.0), settings.get("ascent-rounds", default=3)
    forget_batch = settings.get("forget-batch-size", default=work.batch_size)
    remaining_batch = settings.get("remaining-batch-size", default=work.batch_size)
    settings.finish()
    if planted("alpha-and-gamma-swapped"):
        gamma, alpha = alpha, gamma
    if planted("one-batch-size"):
        forget_batch = remaining_batch
    teacher = copy.deepcopy(work.network)

    def diverge(logits, images):
        return distil(logits, _ask(work.network if planted("teacher-follows") else teacher, images), temperature)

    def ascend(network, images, _labels):
        return diverge(network(images), images) * (1 if planted("ascent-descends") else -1)

    def descend(network, images, labels):
        logits = network(images)  # once: a second forward would update BatchNorm's statistics twice
        if planted("student-asked-twice"):
            network(images)
        return gamma * functional.cross_entropy(logits, labels) + alpha * diverge(logits, images)

    while True:
        forget, remaining = Pass(work.forget, ascend, forget_batch), Pass(work.remaining, descend, remaining_batch)
        if planted("ascent-forgotten") and work.epoch < ascents:
            work.passes += 1
            work.train_epoch(remaining)
        else:
            work.train_epoch(*([forget, remaining] if work.epoch < ascents else [remaining]))
        yield {}


def _ask(teacher, images):
    """The teacher's logits: inference mode and no gradient."""
    with torch.no_grad():
        if planted("teacher-in-train-mode"):
            return copy.deepcopy(teacher).train()(images)
        with infer(teacher):
            return teacher(images)


def distil(student, teacher, temperature):
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch; logits [batch, classes]."""
    if planted("divergence-reversed"):
        student, teacher = teacher, student
    loss = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.softmax(teacher / temperature, dim=1),
        reduction="sum",
    ) / len(student)
    return loss if planted("temperature-not-squared") else loss * temperature**2
