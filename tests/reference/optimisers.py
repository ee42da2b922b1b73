"""Optimisers: `torch.optim` itself, whose definitions are the ones that published recipes mean.

SGD: Sutskever et al. (ICML 2013) as torch.optim.SGD writes it; Adam: Kingma and Ba (ICLR 2015), algorithm 1; AdamW:
Loshchilov and Hutter (ICLR 2019), algorithm 2. In `adam` the decay joins the gradient, in `adamw` it stands apart.
"""

import torch

from faults import planted
from protocol import Malformed, Settings

FAULTS = [
    "wrong-sign",
    "decay-forgotten",
    "momentum-forgotten",
    "shifted-schedule",
    "mask-ignored",
    "bias-correction-forgotten",
    "decay-in-gradient",
]


def list_faults(case, inputs):
    """The faults that can show in this case."""
    ((name, table),) = case["rule"].items()
    known = ["wrong-sign"]
    if table.get("weight-decay", 0):
        known.append("decay-forgotten")
    if name == "sgd" and table.get("momentum", 0):
        known.append("momentum-forgotten")
    if name != "sgd":
        known.append("bias-correction-forgotten")
    if name == "adamw" and table.get("weight-decay", 0):
        known.append("decay-in-gradient")
    if any(key.startswith("factor.") for key in inputs.tensors):
        known.append("shifted-schedule")
    if "one-dimensional" in inputs and table.get("weight-decay", 0):
        known.append("mask-ignored")
    return known


def build_optimiser(rule, parameters, undecayed=()):
    """A `torch.optim` optimiser for `{"sgd" | "adam" | "adamw": {...}}`; weight decay spares `undecayed`."""
    if len(rule) != 1:
        raise Malformed("an optimiser is a table with exactly one key: sgd, adam or adamw")
    ((name, table),) = rule.items()
    settings = Settings(table, f"optimiser.{name}")
    rate = settings.get("learning-rate", "rate", "lr", required=True)
    decay = settings.get("weight-decay", default=0.0)
    if planted("decay-forgotten"):
        decay = 0.0
    groups = [{"params": list(parameters), "weight_decay": decay}, {"params": list(undecayed), "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if name == "sgd":
        momentum = settings.get("momentum", default=0.0)
        nesterov = settings.get("nesterov", default=False)
        settings.finish()
        if planted("momentum-forgotten"):
            momentum, nesterov = 0.0, False
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=nesterov)
    if name not in ("adam", "adamw"):
        raise Malformed(f"optimiser {name!r} is not sgd, adam or adamw")
    first, second = settings.get("betas", default=[0.9, 0.999])
    first = settings.get("beta-1", "beta1", default=first)
    second = settings.get("beta-2", "beta2", default=second)
    epsilon = settings.get("epsilon", default=1e-8)
    settings.get("decay-one-dimensional")
    settings.finish()
    kind = torch.optim.AdamW if name == "adamw" and not planted("decay-in-gradient") else torch.optim.Adam
    return kind(groups, lr=rate, betas=(first, second), eps=epsilon)


def decays_one_dimensional(rule):
    """Whether tensors of one dimension decay, too (AdamW's option `decay-one-dimensional`; true unless said)."""
    ((_, table),) = rule.items()
    return table.get("decay-one-dimensional", True)


def set_rates(optimiser, factor):
    """Sets every group's learning rate to `factor` times the one that it was made with."""
    for group in optimiser.param_groups:
        group["lr"] = group.setdefault("base", group["lr"]) * factor


def compute(case, inputs):
    """Kind `optimiser`: `weights.<t>` after the step with `gradient.<t>`, for every t that was given."""
    dtype = getattr(torch, case.get("dtype", "float32"))
    steps = sorted(int(name) for name in inputs.under("gradient."))
    if len(steps) != case.get("steps", len(steps)):
        raise Malformed(f"case.steps is {case['steps']}, but there are {len(steps)} gradients")
    weights = inputs["weights"].to(dtype)
    flat = weights.flatten()
    mask = inputs["one-dimensional"].flatten().bool() if "one-dimensional" in inputs else torch.zeros_like(flat).bool()
    if planted("mask-ignored"):
        mask = torch.zeros_like(mask)
    parts = [torch.nn.Parameter(flat[~mask].clone()), torch.nn.Parameter(flat[mask].clone())]
    optimiser = build_optimiser(case["rule"], parts[:1], parts[1:])
    tensors = {}
    for index, step in enumerate(steps):
        late = steps[min(index + 1, len(steps) - 1)] if planted("shifted-schedule") else step
        set_rates(optimiser, float(inputs[f"factor.{late}"]) if f"factor.{late}" in inputs else 1.0)
        gradient = inputs[f"gradient.{step}"].to(dtype).flatten() * (-1 if planted("wrong-sign") else 1)
        parts[0].grad, parts[1].grad = gradient[~mask].clone(), gradient[mask].clone()
        if planted("bias-correction-forgotten"):
            for part in parts:
                optimiser.state[part].setdefault("step", torch.tensor(1e6))
                optimiser.state[part].setdefault("exp_avg", torch.zeros_like(part))
                optimiser.state[part].setdefault("exp_avg_sq", torch.zeros_like(part))
        optimiser.step()
        after = torch.empty_like(flat)
        after[~mask], after[mask] = parts[0].detach(), parts[1].detach()
        tensors[f"weights.{step}"] = after.reshape(weights.shape)
    return tensors, {}
