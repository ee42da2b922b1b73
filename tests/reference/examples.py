"""Small cases of every kind, drawn from a seed: what the self-test plants faults in, and a pattern for a harness."""

import json

import torch

from methods import METHODS
from protocol import Inputs
from resnet18_keras import ResNet18Keras

SIDE, CHANNELS, CLASSES = 8, 1, 10
FORGET, REMAINING, BATCH = 13, 18, 6
WIDTHS = {0: (4, CHANNELS), 4: (5, 4), 7: (5, 5), 11: (6, 5)}  # vgg-small's convolutions, narrow
SGD = {"sgd": {"learning-rate": 0.01, "momentum": 0.9, "weight-decay": 5e-3}}
SLOW = {"sgd": {"learning-rate": 0.002, "momentum": 0.9, "weight-decay": 5e-2}}
FAST = {"sgd": {"learning-rate": 0.1, "momentum": 0.9}}
ADAM = {"adam": {"learning-rate": 1e-3}}
MILESTONES = {"milestones": {"epochs": [1], "factor": 0.1}}


class Draw:
    """Random tensors from one seed."""

    def __init__(self, seed):
        self.source = torch.Generator().manual_seed(seed)

    def normal(self, *shape, dtype=torch.float32):
        return torch.randn(shape, generator=self.source, dtype=dtype)

    def uniform(self, *shape, dtype=torch.float32):
        return torch.rand(shape, generator=self.source, dtype=dtype)

    def labels(self, count, classes=CLASSES):
        return torch.randint(classes, (count,), generator=self.source)

    def order(self, count):
        return torch.randperm(count, generator=self.source)


def draw_network(draw, network):
    """`weights.*` and `buffers.*` of a narrow network, and the metadata that names them in order."""
    tensors = {}
    if network == "vgg-small":
        for index, (width, channels) in WIDTHS.items():
            tensors[f"weights.features.{index}.weight"] = draw.normal(width, channels, 3, 3) * (2 / 9 / channels) ** 0.5
            tensors[f"weights.features.{index + 1}.weight"] = 0.5 + draw.uniform(width)
            tensors[f"weights.features.{index + 1}.bias"] = 0.2 * draw.normal(width)
            tensors[f"buffers.features.{index + 1}.running_mean"] = 0.2 * draw.normal(width)
            tensors[f"buffers.features.{index + 1}.running_var"] = 0.5 + draw.uniform(width)
        layers = {"classifier": (CLASSES, 6)}
    else:
        layers = {"first": (12, CHANNELS * SIDE**2), "second": (11, 12), "third": (CLASSES, 11)}
    for name, (width, inputs) in layers.items():
        tensors[f"weights.{name}.weight"] = draw.normal(width, inputs) * (4 / inputs) ** 0.5
        tensors[f"weights.{name}.bias"] = 0.1 * draw.normal(width)
    return tensors, {"names": json.dumps([name.removeprefix("weights.") for name in tensors if name[0] == "w"])}


def draw_predictor(draw, architecture, snapshots):
    """Parameters of a predictor, large enough to matter."""
    inputs = {"weights_stream": snapshots, "differences_stream": snapshots - 1}
    first, last = {"paper": (128, 64), "wnn": (64, 32)}.get(architecture, (0, 0))
    shapes = {
        "equivariant": {
            "linear": (3, snapshots - 1),
            "gain": (3, 16),
            "head": (3, 16),
            "dense1": (16, snapshots - 1),
            "dense2": (16, 16),
        },
        "lopsided": {
            "linear": (3, snapshots - 1),
            "gain": (3, 16),
            "head": (3, 16),
            "even": (3, 16),
            "dense1": (16, snapshots - 1),
            "dense2": (16, 16),
        },
        "conditioned": {"linear": (4, snapshots - 1)},
    }.get(architecture)
    if shapes is not None:
        return {f"{layer}.kernel": draw.normal(*shape) * shape[1] ** -0.5 for layer, shape in shapes.items()}
    tensors = {}
    for stream, width in inputs.items():
        layers = {
            "dense1": (first, width),
            "dense2": (first, first),
            "a_c": (8, first),
            "a_shift": (first, 8),
            "a_scale": (first, 8),
            "a_gate": (first, 8),
            "dense3": (last, first),
        }
        if architecture == "wnn":
            del layers["dense2"]
        for layer, (out, into) in layers.items():
            tensors[f"{stream}.{layer}.kernel"] = draw.normal(out, into) * into**-0.5
            tensors[f"{stream}.{layer}.bias"] = 0.1 * draw.normal(out)
    tensors["out.kernel"], tensors["out.bias"] = draw.normal(1, 2 * last) * 0.05, 0.1 * draw.normal(1)
    return tensors


def draw_method(
    method, table, network="vgg-small", policy="train", optimiser=SGD, schedule="constant", rounds=2, seed=1
):
    """A case of kind `method`: everything that any method may ask for is drawn."""
    draw = Draw(seed)
    tensors, metadata = draw_network(draw, network)
    for name, count in (("forget", FORGET), ("remaining", REMAINING)):
        tensors[f"{name}.images"] = draw.uniform(count, 1, 1, 1) * draw.uniform(count, CHANNELS, SIDE, SIDE).round()
        tensors[f"{name}.labels"] = draw.labels(count)
    reads_remaining = "remaining" in METHODS[method].reads
    for index, count in enumerate(_passes(method, table, rounds)):
        tensors[f"order.{index}"] = draw.order(count)
    tensors["order.recompute"] = draw.order(REMAINING if reads_remaining else FORGET)
    for index in range(rounds):
        tensors[f"labels.{index}"] = draw.labels(FORGET)
        for name in [name for name in tensors if name.startswith("weights.")]:
            tensors[f"noise.{index}.{name.removeprefix('weights.')}"] = draw.normal(*tensors[name].shape)
    tensors["extra.weight"] = draw.normal(1, 6 if network == "vgg-small" else 11)
    tensors["extra.bias"] = draw.normal(1)
    if method in ("rewinding", "nowcasting"):
        architecture, snapshots = ("wnn", 5) if method == "nowcasting" else ("paper", table["trajectory"]["snapshots"])
        for kind in ("convolution", "fully-connected", "bias"):
            parameters = draw_predictor(draw, architecture, snapshots)
            tensors.update({f"predictor.{kind}.{name}": tensor for name, tensor in parameters.items()})
    case = {
        "kind": "method",
        "network": network,
        "classes": CLASSES,
        "method": {method: table},
        "rounds": rounds,
        "forward": {"optimiser": optimiser, "batch-size": BATCH, "batch-norm": policy, "schedule": schedule},
    }
    return case, Inputs(tensors, metadata)


def _passes(method, table, rounds):
    """Sizes of the data of each pass, in the order a method makes them."""
    if method in ("rewinding", "task-vector"):
        trajectory = table["trajectory"]
        epochs = (
            trajectory.get("warm-up-epochs", 0) + trajectory["snapshots"] - (trajectory.get("last-epoch") != "paper")
        )
        return [FORGET] * epochs * rounds
    if method in ("fisher", "weight-noise"):
        return []
    if method == "scrub":
        return [
            size
            for index in range(rounds)
            for size in ([FORGET, REMAINING] if index < table["ascent-rounds"] else [REMAINING])
        ]
    if method in ("salun", "random-label"):
        return ([FORGET + REMAINING] if table.get("remaining") == "mixed" else [FORGET, REMAINING]) * rounds
    return [REMAINING if METHODS[method].reads == ("remaining",) else FORGET] * rounds


def list_method_cases():
    """Every method with every setting that has a fault of its own, over all policies and both networks."""
    trajectory = {"snapshots": 4, "warm-up-epochs": 1, "last-epoch": "skip", "optimiser-state": "keep"}
    paper = {"snapshots": 4, "last-epoch": "paper", "optimiser-state": "reset"}
    by_type = {"convolution": 1.2, "fully-connected": 0.24, "bias": 0.5}
    scrub = {
        "gamma": 0.99,
        "alpha": 0.3,
        "temperature": 4.0,
        "ascent-rounds": 1,
        "forget-batch-size": 4,
        "remaining-batch-size": 6,
    }
    mlp = {"network": "mlp", "policy": "inference"}
    adamw = {"adamw": {"learning-rate": 1e-3, "weight-decay": 0.05, "decay-one-dimensional": False}}
    yield (
        "rewinding",
        draw_method("rewinding", {"scale": 0.7, "horizon": 3, "trajectory": trajectory}, policy="recompute"),
    )
    yield (
        "rewinding-paper",
        draw_method("rewinding", {"scale": 1.0, "horizon": 3, "trajectory": paper}, policy="frozen", optimiser=ADAM),
    )
    yield "rewinding-mlp", draw_method("rewinding", {"horizon": 3, "trajectory": trajectory}, optimiser=ADAM, **mlp)
    yield (
        "task-vector",
        draw_method("task-vector", {"lambda": by_type, "trajectory": trajectory}, policy="train-recompute"),
    )
    yield "task-vector-mlp", draw_method("task-vector", {"lambda": 0.3, "trajectory": paper}, optimiser=adamw, **mlp)
    yield "neg-grad", draw_method("neg-grad", {}, schedule=MILESTONES)
    yield "neg-grad-inference", draw_method("neg-grad", {}, policy="inference", schedule="cosine", optimiser=ADAM)
    yield "neg-grad-frozen", draw_method("neg-grad", {}, policy="frozen", optimiser=SLOW)
    yield "neg-grad-mlp", draw_method("neg-grad", {}, schedule="cosine", **mlp)
    yield "random-label", draw_method("random-label", {"labels": "each-epoch", "remaining": "after"}, schedule="cosine")
    yield (
        "random-label-mixed",
        draw_method("random-label", {"labels": "once", "remaining": "mixed"}, policy="recompute"),
    )
    yield "random-label-forget-only", draw_method("random-label-forget-only", {"labels": "each-epoch"}, **mlp)
    yield "salun", draw_method("salun", {"share": 0.5, "labels": "each-epoch", "remaining": "after"})
    yield "salun-mixed", draw_method("salun", {"share": 0.3, "remaining": "mixed"}, schedule=MILESTONES, **mlp)
    yield "salun-forget-only", draw_method("salun-forget-only", {"share": 0.5}, policy="frozen", optimiser=adamw)
    yield "boundary-shrink", draw_method("boundary-shrink", {"step": 0.1}, rounds=3, optimiser=FAST, seed=7)
    yield (
        "boundary-shrink-projected",
        draw_method("boundary-shrink", {"step": 0.4, "projected": True}, rounds=3, optimiser=FAST, **mlp),
    )
    yield "boundary-expand", draw_method("boundary-expand", {}, policy="inference", optimiser=FAST)
    yield "boundary-expand-mlp", draw_method("boundary-expand", {}, **mlp)
    yield "weight-noise", draw_method("weight-noise", {"sigma": 0.1, "share": 0.3}, policy="recompute")
    yield "fisher-empirical", draw_method("fisher", {"form": "empirical", "alpha": 1e-8}, policy="recompute")
    yield "fisher-expected", draw_method("fisher", {"form": "expected", "alpha": 1e-5}, policy="frozen")
    yield "fisher-expected-mlp", draw_method("fisher", {"form": "expected", "alpha": 1e-5}, **mlp)
    yield "scrub", draw_method("scrub", scrub, schedule=MILESTONES)
    yield "scrub-mlp", draw_method("scrub", scrub, optimiser=ADAM, **mlp)
    yield "nowcasting", draw_method("nowcasting", {}, rounds=7, optimiser=SLOW)
    yield "nowcasting-mlp", draw_method("nowcasting", {}, rounds=6, optimiser=SLOW, **mlp)
    yield "fine-tune", draw_method("fine-tune", {}, policy="recompute")
    yield "retrain", draw_method("retrain", {}, schedule="cosine", optimiser=ADAM)


def list_cases():
    """Name, case and inputs of one small case or more of every kind."""
    yield from ((f"method/{name}", *drawn) for name, drawn in list_method_cases())
    yield from _list_predictor_cases()
    yield from _list_training_parts()
    yield from _list_measurements()
    yield from _list_augmentations()
    yield from _list_networks()


def _list_predictor_cases():
    for architecture in ("paper", "wnn", "equivariant", "lopsided", "conditioned"):
        draw = Draw(5)
        snapshots = 5 if architecture == "wnn" else 6
        tensors = {f"param.{name}": tensor for name, tensor in draw_predictor(draw, architecture, snapshots).items()}
        drift = 1e-4 if architecture == "wnn" else 0.01
        window = 0.1 * draw.normal(20, 1) + drift * draw.normal(20, snapshots).cumsum(1)
        differences = window[:, 1:] - window[:, :-1]
        tensors |= {"window": window, "scale": differences.double().pow(2).mean().sqrt(), "reach": torch.tensor(0.7)}
        case = {"kind": "predictor", "architecture": architecture, "snapshots": snapshots, "horizon": 3}
        yield f"predictor/{architecture}", case, Inputs(tensors)
    draw = Draw(6)
    tensors = {f"param.{name}": tensor for name, tensor in draw_predictor(draw, "paper", 5).items()}
    tensors |= {"inputs": 0.1 * draw.normal(21, 5), "targets": 0.1 * draw.normal(21), "order": draw.order(21)}
    yield (
        "predictor-training/paper",
        {"kind": "predictor-training", "architecture": "paper", "batch-size": 8, "optimiser": ADAM, "dtype": "float64"},
        Inputs(tensors),
    )


def _list_training_parts():
    rules = {
        "sgd": {"sgd": {"learning-rate": 0.1, "momentum": 0.9, "nesterov": True, "weight-decay": 0.01}},
        "adam": ADAM,
        "adamw": {"adamw": {"learning-rate": 1e-2, "weight-decay": 0.1}},
    }
    for name, rule in rules.items():
        draw, steps = Draw(7), 5
        tensors = {"weights": draw.normal(9, dtype=torch.float64)}
        for step in range(1, steps + 1):
            gradient = draw.normal(9, dtype=torch.float64)
            gradient[0], gradient[1] = 0.0, 1e-12
            tensors |= {f"gradient.{step}": gradient, f"factor.{step}": torch.tensor(1 / step, dtype=torch.float64)}
        if name == "adamw":
            tensors["one-dimensional"] = torch.arange(9) % 2 == 0
        case = {"kind": "optimiser", "rule": rule, "steps": steps, "dtype": "float64"}
        yield f"optimiser/{name}", case, Inputs(tensors)
    schedules = {
        "constant": "constant",
        "cosine": "cosine",
        "milestones": MILESTONES,
        "warm-up": {"warm-up": {"epochs": 2, "then": "cosine"}},
        "warm-up-milestones": {"warm-up": {"epochs": 2, "from": 0.1, "then": {"milestones": {"epochs": [3]}}}},
    }
    for name, schedule in schedules.items():
        at = [[epoch, batch] for epoch in range(5) for batch in range(3)]
        case = {"kind": "schedule", "schedule": schedule, "epochs": 5, "batches": 3, "at": at}
        yield f"schedule/{name}", case, Inputs({})
    draw = Draw(8)
    tensors, metadata = draw_network(draw, "vgg-small")
    tensors |= {"images": draw.uniform(13, CHANNELS, SIDE, SIDE), "order.recompute": draw.order(13)}
    yield (
        "batch-norm/recompute",
        {"kind": "batch-norm", "network": "vgg-small", "batch-size": 6},
        Inputs(tensors, metadata),
    )


def _list_measurements():
    draw = Draw(9)
    sides = {
        "members": torch.sigmoid(draw.normal(40, dtype=torch.float64) + 1.5),
        "non-members": torch.sigmoid(draw.normal(40, dtype=torch.float64)),
        "asked": torch.sigmoid(draw.normal(30, dtype=torch.float64) + 0.7),
    }
    yield "attack/svc-confidence", {"kind": "attack", "attack": "svc-confidence"}, Inputs(sides)
    rounded = {name: (10 * tensor).round() / 10 for name, tensor in sides.items()}
    yield "attack/threshold-auc", {"kind": "attack", "attack": "threshold-auc"}, Inputs(rounded)
    shifted = {"members": sides["members"], "non-members": sides["asked"][:25]}
    yield "attack/kolmogorov-smirnov", {"kind": "attack", "attack": "kolmogorov-smirnov"}, Inputs(shifted)
    losses = {
        "members": 0.3 * draw.normal(35, dtype=torch.float64).abs(),
        "members.classes": draw.labels(35, 3),
        "non-members": draw.normal(60, dtype=torch.float64).abs(),
        "non-members.classes": draw.labels(60, 5),
        "members.folds": draw.labels(35, 5),
        "non-members.folds": draw.labels(60, 5),
    }
    yield "attack/logistic-losses", {"kind": "attack", "attack": "logistic-losses"}, Inputs(losses)
    spread = 0.5 + draw.uniform(50, dtype=torch.float64)
    middle = draw.normal(50, dtype=torch.float64)
    truth = draw.labels(50, 2)
    shadows = {
        "members": middle + 1 + spread * draw.normal(8, 50, dtype=torch.float64),
        "non-members": middle + 2 * spread * draw.normal(8, 50, dtype=torch.float64),
        "asked": middle + truth + spread * draw.normal(50, dtype=torch.float64),
        "truth": truth,
    }
    yield "attack/likelihood-ratio", {"kind": "attack", "attack": "likelihood-ratio"}, Inputs(shadows)
    tensors = {}
    for name in ("forget", "remaining", "test", "triggered"):
        tensors |= {f"{name}.labels": draw.labels(40), f"{name}.logits": draw.normal(40, CLASSES)}
        tensors[f"{name}.logits"][range(40), tensors[f"{name}.labels"]] += 1
    case = {
        "kind": "score",
        "figures": {"MIA": 40.0},
        "target": 3,
        "forgotten-class": 2,
        "retrain": {"UA": 60.0, "RA": 30.0, "TA": 90.0, "MIA": 10.0},
    }
    tensors["triggered.logits"][:, 3] += 1.5
    tensors |= {"kid.real": draw.normal(3, 8, 5), "kid.generated": draw.normal(3, 9, 5) + 0.3}
    yield "score/all", case, Inputs(tensors)


def _list_augmentations():
    draw, count = Draw(10), 6
    images = draw.uniform(count, 3, 9, 7)

    def within(bound):
        return bound * (2 * draw.uniform(count, dtype=torch.float64) - 1)

    drawn = {
        "theta": within(10),
        "tx": within(0.15 * 9),
        "ty": within(0.15 * 7),
        "shear": within(0.1),
        "zx": 1 + within(0.3),
        "zy": 1 + within(0.3),
        "flip": torch.arange(count) % 2,
    }
    yield "augment/keras-affine", {"kind": "augment", "augment": "keras-affine"}, Inputs({"images": images, **drawn})
    drawn = {"top": draw.labels(count, 9), "left": draw.labels(count, 9), "flip": torch.arange(count) % 2}
    case = {"kind": "augment", "augment": "crop-flip", "padding": 4}
    yield "augment/crop-flip", case, Inputs({"images": images, **drawn})


def _list_networks():
    for network in ("vgg-small", "mlp"):
        draw = Draw(11)
        tensors, metadata = draw_network(draw, network)
        tensors["images"] = draw.uniform(5, CHANNELS, SIDE, SIDE)
        yield f"network/{network}", {"kind": "network", "network": network}, Inputs(tensors, metadata)
    case = {"kind": "network", "network": "resnet18-keras"}
    yield "network/resnet18-keras", case, Inputs(draw_resnet18_keras(Draw(12), (3, 4, 5, 6), 2, 16))


def draw_resnet18_keras(draw, widths, count, side):
    """Tensors of the authors' ResNet-18 in narrow, and `count` images of `side` x `side`."""
    template = ResNet18Keras(3, widths, CLASSES)
    tensors = {"images": draw.normal(count, 3, side, side)}
    for name, weight in template.named_parameters():
        tensors[f"weights.{name}"] = draw.normal(*weight.shape) * (2 / max(weight[0].numel(), 4)) ** 0.5
    for name, buffer in template.named_buffers():
        if name.endswith("running_var"):
            tensors[f"buffers.{name}"] = 0.001 + draw.uniform(*buffer.shape)
        elif name.endswith("running_mean"):
            tensors[f"buffers.{name}"] = 0.2 * draw.normal(*buffer.shape)
    return tensors
