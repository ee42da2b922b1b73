"""How InvWNN is trained: mean absolute error plus L1 penalties.

Jang, Kim, Youn (AAAI 2025); `compile(loss='mae', optimizer=Adam())` and the regularizers in InvWNN.py of
jjh6297/InvWNN and CNN/WNN.py of jjh6297/WNN. Only the explicit Dense layers of a stream are penalised (three, WNN's
two): not those of A(h), and not the last one. Loss of a batch, each batch's own mean:

    mean_i |f(x_i) - y_i|  +  sum over explicit layers (1e-6 * sum |kernel| + 0.1 * sum |bias|)

f(x) is the network's answer itself (after tanh), y what is to be added to the oldest snapshot.
"""

import torch

from faults import planted
from optimisers import build_optimiser, set_rates
from predictors import STREAMS, predict_residual

PENALISED = ("dense1", "dense2", "dense3")
FAULTS = [
    "wrong-sign",
    "penalty-on-last-layer",
    "penalty-on-activation",
    "penalty-missing",
    "penalties-swapped",
    "squared-error",
    "order-ignored",
    "differences-forward",
]


def list_faults(case, inputs):
    """The faults that can show in this case."""
    late = len(inputs["order"]) > case["batch-size"]
    return [fault for fault in FAULTS if late or fault != "order-ignored"]


def penalise(parameters):
    """The sum of all penalties."""
    on_kernels, on_biases = (0.1, 1e-6) if planted("penalties-swapped") else (1e-6, 0.1)
    layers = [
        f"{stream}.{layer}" for stream in STREAMS for layer in PENALISED if f"{stream}.{layer}.kernel" in parameters
    ]
    if planted("penalty-on-last-layer"):
        layers.append("out")
    if planted("penalty-on-activation"):
        layers += [f"{stream}.{layer}" for stream in STREAMS for layer in ("a_c", "a_shift", "a_scale", "a_gate")]
    if planted("penalty-missing"):
        return torch.zeros(())
    return sum(
        on_kernels * parameters[f"{layer}.kernel"].abs().sum() + on_biases * parameters[f"{layer}.bias"].abs().sum()
        for layer in layers
    )


def compute(case, inputs):
    """Kind `predictor-training`: parameters after one epoch on `inputs` [n, K], `targets` [n] in `order`."""
    dtype = getattr(torch, case.get("dtype", "float32"))
    parameters = {name: torch.nn.Parameter(tensor.to(dtype).clone()) for name, tensor in inputs.under("param.").items()}
    windows, targets = inputs["inputs"].to(dtype), inputs["targets"].to(dtype)
    order = torch.arange(len(windows)) if planted("order-ignored") else inputs["order"]
    optimiser = build_optimiser(case.get("optimiser", {"adam": {"learning-rate": 1e-3}}), parameters.values())
    set_rates(optimiser, 1.0)
    losses = []
    for batch in order.split(case["batch-size"]):
        errors = predict_residual(case.get("architecture", "paper"), parameters, windows[batch]) - targets[batch]
        loss = (errors**2 if planted("squared-error") else errors.abs()).mean() + penalise(parameters)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {f"param.{name}": parameter for name, parameter in parameters.items()}, {"losses": losses}
