"""Writes paper_network.safetensors: weights, inputs and outputs of the paper's InvWNN network.

Run: python paper_network.py            (needs torch and safetensors)

Every dense kernel has torch's layout [out, in]: y = x @ kernel.T + bias.
Tensor names, for K = 5 and K = 15:
    k{K}.{weights|differences}_stream.{dense1|dense2|a_c|a_shift|a_scale|a_gate|dense3}.{kernel|bias}
    k{K}.out.{kernel|bias}
    k{K}.trajectory    [64, K]    the snapshots of 64 coordinates, oldest first
    k{K}.residual      [64]       float64, computed in float64 from the float32 weights and trajectory
    k{K}.residual_f32  [64]       the same in float32
Coordinate 0 does not move; the network still answers, because it has biases.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import leaky_relu

SEED = 20250
COORDINATES = 64


class Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int, draw: torch.Generator):
        super().__init__()
        bound = (3.0 / inputs) ** 0.5  # keeps the variance of the input
        self.kernel = nn.Parameter((torch.rand(outputs, inputs, generator=draw) * 2 - 1) * bound)
        self.bias = nn.Parameter((torch.rand(outputs, generator=draw) * 2 - 1) * 0.1)

    def forward(self, x):
        return x @ self.kernel.T + self.bias


class Stream(nn.Module):
    """Dense128 -> LeakyReLU(0.3) -> Dense128 (= h) -> A(h) -> Dense64 -> LeakyReLU(0.3)."""

    def __init__(self, inputs: int, draw: torch.Generator):
        super().__init__()
        self.dense1 = Dense(inputs, 128, draw)
        self.dense2 = Dense(128, 128, draw)
        self.a_c = Dense(128, 8, draw)
        self.a_shift = Dense(8, 128, draw)
        self.a_scale = Dense(8, 128, draw)
        self.a_gate = Dense(8, 128, draw)
        self.dense3 = Dense(128, 64, draw)

    def forward(self, x):
        h = self.dense2(leaky_relu(self.dense1(x), 0.3))
        c = torch.relu(self.a_c(h))
        a = self.a_shift(c) + self.a_scale(c) * torch.exp(self.a_gate(c) * h)
        return leaky_relu(self.dense3(a), 0.3)


class InvWNN(nn.Module):
    def __init__(self, snapshots: int, draw: torch.Generator):
        super().__init__()
        self.weights_stream = Stream(snapshots, draw)
        self.differences_stream = Stream(snapshots - 1, draw)
        self.out = Dense(128, 1, draw)

    def forward(self, trajectory):  # [coordinates, snapshots], oldest first
        w = trajectory.flip(1)  # the trajectory is reversed first: w_0 is the newest
        d = w[:, 1:] - w[:, :-1]  # d_j = w_{j+1} - w_j: older minus newer
        both = torch.cat([self.weights_stream(w), self.differences_stream(d)], dim=1)
        return torch.tanh(self.out(both))[:, 0]


def trajectories(snapshots: int, draw: torch.Generator) -> torch.Tensor:
    start = 0.05 * torch.randn(COORDINATES, 1, generator=draw)
    drift = 0.005 * torch.randn(COORDINATES, 1, generator=draw) * torch.arange(snapshots)
    wander = 0.002 * torch.randn(COORDINATES, snapshots, generator=draw).cumsum(1)
    trajectory = start + drift + wander
    trajectory[0] = 0.1
    return trajectory.float()


tensors = {}
for snapshots in (5, 15):
    draw = torch.Generator().manual_seed(SEED + snapshots)
    network = InvWNN(snapshots, draw)
    trajectory = trajectories(snapshots, draw)
    if snapshots == 15:
        assert sum(p.numel() for p in network.parameters()) == 62_609
    # Inputs are small beside the biases: larger first kernels let the answer depend on the trajectory,
    # smaller gates keep exp() tame, and the last kernel lets tanh bend but not saturate.
    with torch.no_grad():
        network.weights_stream.dense1.kernel.mul_(4.0)
        network.differences_stream.dense1.kernel.mul_(10.0)
        for stream in (network.weights_stream, network.differences_stream):
            stream.a_gate.kernel.mul_(0.25)
        network.out.kernel.mul_(2.0)
        tensors |= {f"k{snapshots}.{name}": p.detach().clone() for name, p in network.named_parameters()}
        residual_f32 = network(trajectory)
        residual = network.double()(trajectory.double())
    assert residual.abs().max() < 0.95 and residual.std() > 0.02, (residual.abs().max(), residual.std())
    tensors[f"k{snapshots}.trajectory"] = trajectory
    tensors[f"k{snapshots}.residual"] = residual
    tensors[f"k{snapshots}.residual_f32"] = residual_f32
    print(snapshots, residual.min().item(), residual.max().item(), residual.std().item(),
          "float32 error", (residual_f32 - residual).abs().max().item())

save_file(
    tensors,
    Path(__file__).with_suffix(".safetensors"),
    metadata={
        "kernel_layout": "torch [out, in]",
        "trajectory_order": "oldest first; the network's inputs are newest first",
        "differences": "older minus newer",
        "leaky_relu_slope": "0.3",
        "seed": str(SEED),
        "torch": torch.__version__,
    },
)
