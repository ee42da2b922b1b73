"""Accuracies in percent, losses in nats, and what is made of them.

UA, RA, TA and the average gap: Fan et al., "SalUn" (ICLR 2024) and Jang et al. (AAAI 2025), table 1.
Backdoor success: Gu et al., "BadNets" (2017): the share of *other* classes' samples that the trigger turns
into the target. KID: Binkowski et al., "Demystifying MMD GANs" (ICLR 2018), section 4: unbiased, cubic kernel, mean
over batches. Logit-scaled confidence: Carlini et al. (S&P 2022): log p_y - log of the others' sum, as
research/mi_lira_2021/score.py of tensorflow/privacy computes it (50 samples: 4e-15 apart).
"""

import torch
from torch.nn import functional

from faults import planted

FAULTS = [
    "wrong-sign",
    "accuracy-for-error",
    "sum-for-mean",
    "gap-signed",
    "kernel-squared",
    "pairs-with-themselves",
    "target-class-counted",
    "confidence-not-scaled",
    "forgotten-class-counted",
]


def list_faults(case, inputs):
    """The faults that can show in this case."""
    measured = any(f"{name}.logits" in inputs for name in ("forget", "remaining", "test"))
    known = ["wrong-sign", "sum-for-mean", "confidence-not-scaled"] if measured else []
    known += ["kernel-squared", "pairs-with-themselves"] if "kid.real" in inputs else []
    known += ["accuracy-for-error"] if "forget.logits" in inputs else []
    known += ["gap-signed"] if "retrain" in case else []
    known += ["target-class-counted"] if "triggered.logits" in inputs else []
    return known + (["forgotten-class-counted"] if "forgotten-class" in case else [])


def measure_accuracy(logits, labels):
    """Percent whose largest logit is the label's; the first of equal ones counts."""
    accuracy = 100.0 * (logits.argmax(dim=1) == labels).double().mean().item()
    return 100.0 - accuracy if planted("wrong-sign") else accuracy


def measure_cross_entropy(logits, labels):
    """Mean over the samples, in nats."""
    reduction = "sum" if planted("sum-for-mean") else "mean"
    return functional.cross_entropy(logits.double(), labels, reduction=reduction).item()


def scale_confidence(logits, labels):
    """log(p / (1 - p)) of the true class for each sample, without ever forming p."""
    logits = logits.double()
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1)
    return own - logits.logsumexp(dim=1) if planted("confidence-not-scaled") else own - others


def average_gap(figures, retrained):
    """Mean over the named figures of |figure - Retrain's|."""
    gaps = [figures[name] - retrained[name] for name in retrained]
    return sum(gap if planted("gap-signed") else abs(gap) for gap in gaps) / len(gaps)


def measure_kernel_distance(real, generated):
    """KID: unbiased squared MMD under the kernel (x . y / d + 1)^3, mean over the batches [batches, samples, d]."""
    real, generated = real.double(), generated.double()

    def kernel(one, other):
        return (one @ other.transpose(1, 2) / one.shape[2] + 1) ** (2 if planted("kernel-squared") else 3)

    def mean_of_pairs(features):
        similarities, count = kernel(features, features), features.shape[1]
        if planted("pairs-with-themselves"):
            return similarities.mean(dim=(1, 2))
        diagonal = similarities.diagonal(dim1=1, dim2=2).sum(dim=1)
        return (similarities.sum(dim=(1, 2)) - diagonal) / (count * (count - 1))

    across = kernel(real, generated).mean(dim=(1, 2))
    return (mean_of_pairs(real) + mean_of_pairs(generated) - 2 * across).mean().item()


def measure_backdoor(logits, labels, target):
    """Percent of samples of other classes, with the trigger in them, that are taken for `target`."""
    others = torch.ones_like(labels, dtype=torch.bool) if planted("target-class-counted") else labels != target
    success = 100.0 * (logits[others].argmax(dim=1) == target).double().mean().item()
    return 100.0 - success if planted("wrong-sign") else success


def compute(case, inputs):
    """Kind `score`: accuracy, loss and confidences on forget, remaining and test data, and what follows from them."""
    tensors, figures, losses = {}, dict(case.get("figures", {})), {}
    for name in ("forget", "remaining", "test"):
        if f"{name}.logits" not in inputs:
            continue
        logits, labels = inputs[f"{name}.logits"], inputs[f"{name}.labels"]
        if name == "test" and "forgotten-class" in case:
            gone = labels == case["forgotten-class"]
            figures["forgotten-class-accuracy"] = measure_accuracy(logits[gone], labels[gone])
            if not planted("forgotten-class-counted"):
                logits, labels = logits[~gone], labels[~gone]
        accuracy = measure_accuracy(logits, labels)
        key = {"forget": "UA", "remaining": "RA", "test": "TA"}[name]
        figures[key] = 100.0 - accuracy if name == "forget" and not planted("accuracy-for-error") else accuracy
        losses[name] = measure_cross_entropy(logits, labels)
        tensors[f"{name}.confidence"] = scale_confidence(logits, labels)
    if "triggered.logits" in inputs:
        figures["backdoor-success"] = measure_backdoor(
            inputs["triggered.logits"], inputs["triggered.labels"], case["target"]
        )
    if "kid.real" in inputs:
        figures["kid"] = measure_kernel_distance(inputs["kid.real"], inputs["kid.generated"])
    if "retrain" in case:
        figures["average-gap"] = average_gap(figures, case["retrain"])
    return tensors, {**figures, "cross-entropy": losses}
