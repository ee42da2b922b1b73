"""Kind `method`: a whole unlearning step by name, round by round."""

from dataclasses import dataclass

import boundary
import neg_grad
import noise
import nowcasting
import plain_training
import random_label
import scrub
import trajectories
from networks import list_statistics, list_weights
from protocol import Malformed, Settings
from training import Work, list_batch_norm_faults, list_training_faults


@dataclass
class Method:
    """Where a method's reference stands, what it reads, and what can be planted in it."""

    rounds: object  # (work, settings) -> generator that yields figures after each round
    reads: tuple
    faults: tuple = ()
    epochs: object = lambda table: 1  # epochs of the schedule in one round
    trains: bool = True


_TRAJECTORY = ("snapshot-after-epoch", "residual-of-wrong-sign")
_MASK = ("missing-mask", "mask-inverted", "mask-by-tensor", "absolute-before-sum")
METHODS = {
    "rewinding": Method(
        trajectories.rewind,
        ("forget",),
        _TRAJECTORY + ("differences-forward", "not-reversed", "added-to-newest", "one-predictor-for-all"),
        trajectories.count_epochs,
    ),
    "task-vector": Method(
        trajectories.subtract_task_vector,
        ("forget",),
        _TRAJECTORY + ("subtracted-from-newest",),
        trajectories.count_epochs,
    ),
    "neg-grad": Method(neg_grad.ascend, ("forget",)),
    "random-label": Method(random_label.relabel, ("forget", "remaining"), ("true-labels",)),
    "random-label-forget-only": Method(random_label.relabel_forget_only, ("forget",), ("true-labels",)),
    "salun": Method(random_label.relabel_salient, ("forget", "remaining"), ("true-labels",) + _MASK),
    "salun-forget-only": Method(random_label.relabel_salient_forget_only, ("forget",), ("true-labels",) + _MASK),
    "boundary-shrink": Method(boundary.shrink, ("forget",), ("step-downhill", "no-step")),
    "boundary-expand": Method(boundary.expand, ("forget",), ("extra-row-of-zeros", "true-labels")),
    "weight-noise": Method(
        noise.noise_sensitive, ("forget",), _MASK + ("wrong-sign", "variance-for-deviation"), trains=False
    ),
    "fisher": Method(
        noise.forget_by_fisher,
        ("remaining",),
        ("wrong-sign", "last-layer-as-others", "mean-before-square"),
        trains=False,
    ),
    "scrub": Method(
        scrub.scrub,
        ("forget", "remaining"),
        (
            "divergence-reversed",
            "temperature-not-squared",
            "alpha-and-gamma-swapped",
            "ascent-descends",
            "ascent-forgotten",
        ),
    ),
    "nowcasting": Method(nowcasting.train_with_nowcasting, ("remaining",), ("snapshot-before-epoch", "never-jumps")),
    "fine-tune": Method(plain_training.train_on_remaining, ("remaining",)),
    "retrain": Method(plain_training.train_on_remaining, ("remaining",)),
}


def _name_and_table(case):
    ((name, table),) = case["method"].items()
    if name not in METHODS:
        raise Malformed(f"case.method is {name!r}, not one of {', '.join(METHODS)}")
    return name, table


def list_faults(case, inputs):
    """The faults that can show in this case."""
    name, table = _name_and_table(case)
    method, batch = METHODS[name], case["forward"]["batch-size"]
    known = list(method.faults) + _list_option_faults(name, table, case, inputs)
    if not method.trains:
        return known + list_batch_norm_faults(case, inputs)
    sizes = {kind: len(inputs[f"{kind}.labels"]) for kind in method.reads}
    passes = [(sizes[kind], table.get(f"{kind}-batch-size", batch)) for kind in method.reads]
    if table.get("remaining") == "mixed":
        passes = [(sum(sizes.values()), batch)]
    return known + list_training_faults(case, inputs, passes)


def _list_option_faults(name, table, case, inputs):
    """Faults that show with some settings only."""
    known, networks_with_statistics = [], bool(inputs.under("buffers."))
    ((rule, optimiser),) = case["forward"].get("optimiser", {"sgd": {}}).items()
    remembers = rule != "sgd" or optimiser.get("momentum", 0)
    if name in ("rewinding", "task-vector"):
        if table["trajectory"].get("warm-up-epochs", 0):
            known.append("warm-up-recorded")
        if remembers and case["rounds"] > 1:
            known.append("optimiser-state-of-other-option")
    if isinstance(table.get("lambda"), dict):
        known.append("lambda-on-wrong-type")
    if name.startswith("salun") and optimiser.get("weight-decay", 0):
        known.append("mask-on-gradient-only")
    if name.startswith(("salun", "random-label")) and table.get("labels") != "once" and case["rounds"] > 1:
        known.append("labels-of-first-epoch")
    if name in ("salun", "random-label") and table.get("remaining", "after") == "after":
        known.append("missing-remaining-pass")
    if name in ("boundary-shrink", "scrub") and case["rounds"] > 1:
        known.append("teacher-follows")
    if name in ("boundary-shrink", "scrub") and networks_with_statistics:
        known.append("teacher-in-train-mode")
    if (
        name == "scrub"
        and networks_with_statistics
        and case["forward"].get("batch-norm", "inference").startswith("train")
    ):
        known.append("student-asked-twice")
    if name == "scrub" and table.get("forget-batch-size") != table.get("remaining-batch-size"):
        known.append("one-batch-size")
    if name == "nowcasting" and networks_with_statistics and case["forward"].get("batch-norm") != "frozen":
        known.append("norms-nowcast")
    if name == "fisher":
        known.append("without-cap")
        if table["form"] == "expected":
            known += ["true-labels", "labels-unweighted", "no-mean-over-inputs", "variance-for-deviation"]
            frozen = networks_with_statistics and case["forward"].get("batch-norm") == "frozen"
            known += [] if frozen else ["one-dimensional-as-others"]  # frozen leaves the last layer's bias alone
    return known


def compute(case, inputs):
    """Weights and BatchNorm's statistics after every round, from 1; figures beside them by round."""
    name, table = _name_and_table(case)
    method, rounds = METHODS[name], case.get("rounds", 1)
    work = Work(case, inputs, rounds * method.epochs(table))
    work.architecture = case.get("predictor-architecture", "paper")
    for kind in method.reads:
        if getattr(work, kind) is None:
            raise Malformed(f"inputs.safetensors: tensor `{kind}.images` is missing, which {name} reads")
    shapes = {weight: tensor.shape for weight, tensor in list_weights(work.network).items()}
    steps, tensors, figures = method.rounds(work, Settings(table, f"method.{name}")), {}, {}
    for index in range(1, rounds + 1):
        figures[f"round.{index}"] = next(steps)
        work.finish_round(index, "remaining" in method.reads)
        for weight, tensor in list_weights(work.network).items():
            tensors[f"round.{index}.weights.{weight}"] = tensor.detach()[: shapes[weight][0]].clone()
        for buffer, tensor in list_statistics(work.network).items():
            tensors[f"round.{index}.buffers.{buffer}"] = tensor.clone()
    return tensors, figures
