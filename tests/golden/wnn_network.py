"""Writes wnn_network.safetensors: weights, inputs and outputs of WNN, the network that looks ahead.

Run: python wnn_network.py            (needs torch and safetensors)

Every dense kernel has torch's layout [out, in]: y = x @ kernel.T + bias.
Tensor names, for K = 5 and K = 8:
    k{K}.{weights|differences}_stream.{dense1|a_c|a_shift|a_scale|a_gate|dense2}.{kernel|bias}
    k{K}.out.{kernel|bias}
    k{K}.{SIZE}.trajectory    [64, K]    the snapshots of 64 coordinates, oldest first
    k{K}.{SIZE}.residual      [64]       float64: what is added to the newest snapshot, computed in float64
SIZE is how far coordinates move: large, at-the-floor (about 1e-5), small (about 1e-7) and resting.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

SEED = 20230
COORDINATES = 64
SIZES = {"large": 5e-3, "at-the-floor": 1e-5, "small": 1e-7, "resting": 0.0}


def shapes(inputs):
    return {
        "dense1": (inputs, 64),
        "a_c": (64, 8),
        "a_shift": (8, 64),
        "a_scale": (8, 64),
        "a_gate": (8, 64),
        "dense2": (64, 32),
    }


def draw_network(snapshots, draw):
    layers = {f"weights_stream.{name}": shape for name, shape in shapes(snapshots).items()}
    layers |= {f"differences_stream.{name}": shape for name, shape in shapes(snapshots - 1).items()}
    layers["out"] = (64, 1)
    network = {}
    for name, (inputs, outputs) in layers.items():
        bound = (3.0 / inputs) ** 0.5  # keeps the variance of the input
        network[f"{name}.kernel"] = (torch.rand(outputs, inputs, generator=draw) * 2 - 1) * bound
        network[f"{name}.bias"] = (torch.rand(outputs, generator=draw) * 2 - 1) * 0.1
    network["out.bias"] += 0.2  # a clear answer to what rests
    return network


def dense(network, layer, x):
    return x @ network[f"{layer}.kernel"].T + network[f"{layer}.bias"]


def stream(network, name, x):
    """Dense64 (= h) -> A(h) -> Dense32 -> LeakyReLU(0.3)."""
    layer = lambda layer, x: dense(network, f"{name}.{layer}", x)
    h = layer("dense1", x)
    c = torch.clamp(layer("a_c", h), min=0)
    a = layer("a_shift", c) + layer("a_scale", c) * torch.exp(layer("a_gate", c) * h)
    left = layer("dense2", a)
    return torch.where(left < 0, 0.3 * left, left)


def residual(network, trajectory):
    oldest, newest = trajectory[:, :1], trajectory[:, -1]
    r = trajectory.max(1, keepdim=True).values - trajectory.min(1, keepdim=True).values + 1e-8
    unit = 2 * (r + 1e-5)
    x = (trajectory - oldest) / unit
    d = x[:, 1:] - x[:, :-1]
    both = torch.cat([stream(network, "weights_stream", x), stream(network, "differences_stream", d)], dim=1)
    answer = torch.tanh(dense(network, "out", both))[:, 0]
    predicted = (x[:, -1] + answer) * unit[:, 0] + oldest[:, 0]
    return predicted - newest


tensors = {}
for snapshots in (5, 8):
    draw = torch.Generator().manual_seed(SEED + snapshots)
    network = draw_network(snapshots, draw)
    if snapshots == 5:
        assert sum(p.numel() for p in network.values()) == 9_425
    tensors |= {f"k{snapshots}.{name}": p for name, p in network.items()}
    double = {name: p.double() for name, p in network.items()}
    for size, step in SIZES.items():
        # Far from 0 the steps of small ones would drown in float32.
        start = 0.05 * torch.randn(COORDINATES, 1, generator=draw) if size in ("large", "resting") else 0
        drift = step * torch.randn(COORDINATES, 1, generator=draw) * torch.arange(snapshots)
        wander = 0.3 * step * torch.randn(COORDINATES, snapshots, generator=draw).cumsum(1)
        trajectory = (start + drift + wander).float()
        expected = residual(double, trajectory.double())
        assert expected.abs().max() > 1e-7, expected
        tensors[f"k{snapshots}.{size}.trajectory"] = trajectory.contiguous()
        tensors[f"k{snapshots}.{size}.residual"] = expected
        print(snapshots, size, expected.min().item(), expected.max().item())

save_file(
    tensors,
    Path(__file__).with_suffix(".safetensors"),
    metadata={
        "kernel_layout": "torch [out, in]",
        "trajectory_order": "oldest first",
        "differences": "newer minus older",
        "leaky_relu_slope": "0.3",
        "seed": str(SEED),
        "torch": torch.__version__,
    },
)
