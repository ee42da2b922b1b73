"""Networks that predict a coordinate's past (or, WNN, its future) from its snapshots.

`paper`: Jang, Kim, Youn (AAAI 2025), section on InvWNN. Held against InvWNN.py of jjh6297/InvWNN, run with the
authors' three files: 62,609 parameters; predictions at most 1e-7 apart (they compute in float32, this in float64);
lambda 1.234 (convolution) and 0.241 (fully connected, bias); a still trajectory of 0.5 answers -3.045e-3, of -0.5
+5.244e-3.

`wnn`: Jang, Yun, Kim, Youn, "Learning to Boost Training by Periodic Nowcasting Near Future Weights" (ICML 2023).
Held against CNN/WNN.py of jjh6297/WNN with its three files: 9,425 parameters, predictions at most 2.4e-8 apart. The
port in WNN_Pytorch/model.py has the same arrays but PyTorch's slope of 0.01 in LeakyReLU: with that slope it agrees
to 2e-6, and without it answers differ by most of a unit; the original's 0.3 is followed. On even drifts of 1e-6,
1e-5, 1e-4 and 1e-3 an epoch the convolution network answers -21.17, +1.99, +4.04 and +4.20 drifts ahead of the
newest snapshot.

The three others are this project's own; their formulas are given beside them. Parameters by name: `<layer>.kernel`
[out, in] and `<layer>.bias` [out], in two streams `weights_stream` and `differences_stream`. A window is
[coordinates, K], oldest snapshot first.
"""

import torch
from torch.nn import functional

from faults import planted
from protocol import Malformed

STREAMS = ("weights_stream", "differences_stream")
SMALLEST_NORMAL = 1.18e-38  # a drift scale below this counts as none
FAULTS = {
    "paper": [
        "wrong-sign",
        "differences-forward",
        "not-reversed",
        "relu-for-leaky-relu",
        "slope-of-pytorch",
        "gate-and-scale-swapped",
        "streams-swapped",
        "without-tanh",
    ],
    "wnn": [
        "wrong-sign",
        "reversed",
        "not-normalised",
        "factor-of-two-missing",
        "activation-after-first-layer",
        "gate-and-scale-swapped",
        "without-tanh",
        "floor-missing",
    ],
    "equivariant": [
        "wrong-sign",
        "horizon-not-multiplied",
        "scale-not-restored",
        "gain-without-one",
        "horizon-not-divided",
        "tanh-for-softsign",
    ],
    "lopsided": [
        "wrong-sign",
        "horizon-not-multiplied",
        "gain-without-one",
        "even-part-missing",
        "even-part-without-modulus",
    ],
    "conditioned": ["wrong-sign", "horizon-not-multiplied", "reach-ignored", "scale-not-restored", "newest-first"],
}


def list_faults(case, _inputs=None):
    """The faults that can show in this case."""
    return FAULTS[case["architecture"]]


def predict_residual(architecture, parameters, window, horizon=None, scale=None, reach=None):
    """What the network adds: to the oldest snapshot, or for `wnn` to the newest. [coordinates]"""
    compute_residual = {
        "paper": rewind_by_paper,
        "wnn": nowcast_residual,
        "equivariant": rewind_equivariantly,
        "lopsided": rewind_equivariantly,
        "conditioned": rewind_conditioned,
    }.get(architecture)
    if compute_residual is None:
        raise Malformed(f"architecture {architecture!r} is not one of {', '.join(FAULTS)}")
    if architecture in ("paper", "wnn"):
        residual = compute_residual(parameters, window)
    elif architecture == "conditioned":
        residual = compute_residual(parameters, window, horizon, scale, reach)
    else:
        residual = compute_residual(parameters, window, horizon, scale, lopsided=architecture == "lopsided")
    return -residual if planted("wrong-sign") else residual


def dense(parameters, layer, inputs):
    """Keras' Dense: inputs [n, in] to [n, out]."""
    outputs = inputs @ parameters[f"{layer}.kernel"].T
    bias = f"{layer}.bias"
    return outputs + parameters[bias] if bias in parameters else outputs


def leaky_relu(inputs):
    """Keras' LeakyReLU, whose slope is 0.3 (PyTorch's own default is 0.01)."""
    if planted("relu-for-leaky-relu"):
        return functional.relu(inputs)
    return functional.leaky_relu(inputs, 0.01 if planted("slope-of-pytorch") else 0.3)


def activate(parameters, stream, hidden):
    """A(h) = shift(c) + scale(c) * exp(gate(c) * h), c = ReLU(Dense8(h)): `trAct_1D_Exp` of both codes."""
    scale, gate = ("a_gate", "a_scale") if planted("gate-and-scale-swapped") else ("a_scale", "a_gate")
    compressed = functional.relu(dense(parameters, f"{stream}.a_c", hidden))
    exponential = torch.exp(dense(parameters, f"{stream}.{gate}", compressed) * hidden)
    return (
        dense(parameters, f"{stream}.a_shift", compressed)
        + dense(parameters, f"{stream}.{scale}", compressed) * exponential
    )


def _answer(parameters, streams):
    if planted("streams-swapped"):
        streams = streams[::-1]
    answer = dense(parameters, "out", torch.cat(streams, dim=1))[:, 0]
    return answer if planted("without-tanh") else torch.tanh(answer)


def rewind_by_paper(parameters, window):
    """InvWNN: snapshots newest first, and their differences in that order: older minus newer."""
    values = window if planted("not-reversed") else window.flip(1)
    differences = values[:, 1:] - values[:, :-1]
    if planted("differences-forward"):
        differences = -differences
    return _answer(
        parameters,
        [_paper_stream(parameters, stream, inputs) for stream, inputs in zip(STREAMS, (values, differences))],
    )


def _paper_stream(parameters, stream, inputs):
    hidden = dense(parameters, f"{stream}.dense2", leaky_relu(dense(parameters, f"{stream}.dense1", inputs)))
    return leaky_relu(dense(parameters, f"{stream}.dense3", activate(parameters, stream, hidden)))


def nowcast(parameters, window):
    """WNN's prediction five epochs after the newest snapshot, as `get_ConvLayer_pred` makes it, for every type."""
    unit = nowcast_unit(window)
    values, _ = _nowcast_inputs(window)
    return (values[:, -1] + _nowcast_answer(parameters, window)) * unit + window[:, 0]


def nowcast_residual(parameters, window):
    """`nowcast` without the newest snapshot: the network's answer in the coordinate's own unit."""
    return _nowcast_answer(parameters, window) * nowcast_unit(window)


def nowcast_unit(window):
    """2 (r + 1e-5), r = max - min + 1e-8 of the coordinate's five values; [coordinates]."""
    if planted("not-normalised"):
        return torch.ones_like(window[:, 0])
    spread = window.max(dim=1).values - window.min(dim=1).values + 1e-8
    floored = spread + (0.0 if planted("floor-missing") else 1e-5)
    return floored if planted("factor-of-two-missing") else 2 * floored


def _nowcast_inputs(window):
    values = (window - window[:, :1]) / nowcast_unit(window)[:, None]
    if planted("reversed"):
        values = values.flip(1)
    return values, values[:, 1:] - values[:, :-1]


def _nowcast_answer(parameters, window):
    return _answer(
        parameters,
        [_wnn_stream(parameters, stream, inputs) for stream, inputs in zip(STREAMS, _nowcast_inputs(window))],
    )


def _wnn_stream(parameters, stream, inputs):
    hidden = dense(parameters, f"{stream}.dense1", inputs)
    if planted("activation-after-first-layer"):
        hidden = leaky_relu(hidden)
    return leaky_relu(dense(parameters, f"{stream}.dense3", activate(parameters, stream, hidden)))


def _scaled_differences(window, scale):
    """Differences newest last, divided by the drift scale of the tensor, [coordinates, K-1]; none for no scale."""
    if scale < SMALLEST_NORMAL:
        return None
    differences = (window[:, 1:] - window[:, :-1]) / scale
    return differences.flip(1) if planted("newest-first") else differences


def rewind_conditioned(parameters, window, horizon, scale, reach):
    """drift = (A0 + A1 u + A2 rho + A3 rho u) . x with u = U / K, rho = reach; residual = U * scale * drift."""
    differences = _scaled_differences(window, scale)
    if differences is None:
        return torch.zeros_like(window[:, 0])
    u = horizon / window.shape[1]
    reach = 0.0 if planted("reach-ignored") else reach
    coefficients = torch.tensor([1.0, u, reach, reach * u], dtype=torch.float64).to(window.dtype)
    drift = differences @ (parameters["linear.kernel"].T @ coefficients)
    return _restore(drift, horizon, scale)


def rewind_equivariantly(parameters, window, horizon, scale, lopsided):
    """drift = a . x + v . phi(W2 (g * phi(W1 x))), phi(h) = h / (1 + |h|), a, g and v quadratic in u = U / K.

    a = linear' (1, u, u^2); g = 1 + gain' (1, u, u^2); v = head' (1, u, u^2); `lopsided` adds
    (even' (1, u, u^2)) . |second hidden layer|. residual = U * scale * drift.
    """
    differences = _scaled_differences(window, scale)
    if differences is None:
        return torch.zeros_like(window[:, 0])
    u = float(horizon) if planted("horizon-not-divided") else horizon / window.shape[1]
    powers = torch.tensor([1.0, u, u * u], dtype=torch.float64).to(window.dtype)
    activation = torch.tanh if planted("tanh-for-softsign") else functional.softsign
    gain = parameters["gain.kernel"].T @ powers + (0.0 if planted("gain-without-one") else 1.0)
    first = activation(differences @ parameters["dense1.kernel"].T)
    second = activation((gain * first) @ parameters["dense2.kernel"].T)
    drift = differences @ (parameters["linear.kernel"].T @ powers) + second @ (parameters["head.kernel"].T @ powers)
    if lopsided and not planted("even-part-missing"):
        even = second if planted("even-part-without-modulus") else second.abs()
        drift = drift + even @ (parameters["even.kernel"].T @ powers)
    return _restore(drift, horizon, scale)


def _restore(drift, horizon, scale):
    factor = (1 if planted("horizon-not-multiplied") else horizon) * (1 if planted("scale-not-restored") else scale)
    return factor * drift


def compute(case, inputs):
    """Kind `predictor`: the residual in float64 and in float32; for `wnn` the prediction itself, too."""
    tensors = {}
    for suffix, dtype in (("", torch.float64), (".float64", torch.float64), (".float32", torch.float32)):
        parameters = {name: tensor.to(dtype) for name, tensor in inputs.under("param.").items()}
        window = inputs["window"].to(dtype)
        if window.shape[1] != case.get("snapshots", window.shape[1]):
            raise Malformed(f"window has {window.shape[1]} snapshots, case.snapshots is {case['snapshots']}")
        scalars = {name: float(inputs[name]) if name in inputs else None for name in ("scale", "reach")}
        residual = predict_residual(case["architecture"], parameters, window, case.get("horizon"), **scalars)
        tensors[f"residual{suffix}"] = residual.to(dtype)
        if case["architecture"] == "wnn":
            tensors[f"prediction{suffix}"] = nowcast(parameters, window).to(dtype)
    return tensors, {}
