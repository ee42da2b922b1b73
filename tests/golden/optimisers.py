"""Writes optimisers.safetensors: a small network before and after 20 steps of each optimiser.

Run: python optimisers.py               (needs torch and safetensors)

Network: Linear(20, 268) -> tanh -> Linear(268, 32), mean cross-entropy; kernels have torch's layout [out, in].
    initial.{layer1|layer2}.{weight|bias}
    inputs [20 steps, 16 samples, 20], labels int64 [20, 16]: step s takes batch s
    {optimiser}.{layer1|layer2}.{weight|bias}          after 20 steps in float32
    {optimiser}.losses [20]                            float32, before each step
The shapes make seven tiles of at most 4,096 coordinates, so that each of three ranks owns at least two.
The metadata's key `optimisers` is JSON: every optimiser's rule and hyper-parameters.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy

SEED, STEPS, BATCH, INPUTS, HIDDEN, CLASSES = 7, 20, 16, 20, 268, 32

SGD = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
ADAM = {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}
OPTIMISERS = {
    "sgd": {"rule": "SGD", "lr": 0.1, **SGD},
    "sgd_momentum": {"rule": "SGD", "lr": 0.05, **SGD, "momentum": 0.9, "weight_decay": 5e-4},
    "sgd_nesterov": {"rule": "SGD", "lr": 0.05, **SGD, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
    "adam": {"rule": "Adam", "lr": 0.01, **ADAM},
    "adam_weight_decay": {"rule": "Adam", "lr": 0.01, **ADAM, "weight_decay": 5e-3},
    "adamw": {"rule": "AdamW", "lr": 0.01, **ADAM, "weight_decay": 0.05},
}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(INPUTS, HIDDEN)
        self.layer2 = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x):
        return self.layer2(torch.tanh(self.layer1(x)))


def train(initial, settings, inputs, labels, dtype):
    network = Network().to(dtype)
    network.load_state_dict(initial)
    options = {name: value for name, value in settings.items() if name != "rule"}
    optimiser = getattr(torch.optim, settings["rule"])(network.parameters(), foreach=False, **options)
    losses = []
    for x, y in zip(inputs.to(dtype), labels):
        loss = cross_entropy(network(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return network.state_dict(), torch.stack(losses)


torch.manual_seed(SEED)
torch.set_num_threads(1)
initial = Network().state_dict()
inputs = torch.randn(STEPS, BATCH, INPUTS)
labels = (inputs @ torch.randn(INPUTS, CLASSES)).argmax(2)

tensors = {"inputs": inputs, "labels": labels} | {f"initial.{k}": v.clone() for k, v in initial.items()}
for name, settings in OPTIMISERS.items():
    single, losses = train(initial, settings, inputs, labels, torch.float32)
    double, _ = train(initial, settings, inputs, labels, torch.float64)
    tensors |= {f"{name}.{k}": v.clone() for k, v in single.items()}
    tensors[f"{name}.losses"] = losses
    error = max((single[k] - double[k]).abs().max().item() for k in single)
    moved = max((single[k] - initial[k]).abs().max().item() for k in single)
    print(f"{name}: loss {losses[0]:.3f} -> {losses[-1]:.3f}, moved {moved:.3f}, float32 error {error:.1e}")

save_file(
    tensors,
    Path(__file__).with_suffix(".safetensors"),
    metadata={
        "optimisers": json.dumps(OPTIMISERS),
        "network": "Linear(20, 268) -> tanh -> Linear(268, 32), mean cross-entropy",
        "kernel_layout": "torch [out, in]",
        "seed": str(SEED),
        "torch": torch.__version__,
    },
)
