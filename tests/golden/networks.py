"""Writes networks.json: answers and gradients of networks, computed by PyTorch's own layers, torchvision
and timm.

Run: python networks.py               (needs torch, torchvision, timm)

Weights and inputs are not stored: value i of a tensor follows from its name and i alone (`draw`), in exact arithmetic
that a test repeats. Of every network:
    image                 channels, height, width of its two inputs
    answer                logits [2, 10], or images [2, C, H, W]; flat
    loss                  mean cross-entropy with labels 3 and 7, or mean squared error against the inputs' sines
    every                 61, or more for large networks
    gradients             {tensor: [sum of all, sum of squares, every so many-th value …]} of the loss
Everything is float64, so that the tolerance is that of float32 in the test.
"""

import json
import math
from pathlib import Path

import numpy
import timm
import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, max_pool2d, mse_loss, pad

def draw(name, shape):
    """Numbers between ±1 by a hash of name and position; a weight's times √(3 / fan-in), a bias's an eighth."""
    start = sum(byte * 131**place for place, byte in enumerate(name.encode())) % 2**32
    index = numpy.arange(math.prod(shape), dtype=numpy.uint64)
    values = ((start + index) * 2654435761 % 2**32).astype(numpy.float64) / 2**31 - 1
    if len(shape) == 1:
        # A norm's scale is around 1, and so is a variance.
        values = (1.0 if name.endswith(("weight", "running_var")) else 0.0) + values / 8
    elif name != "images":
        values = values * math.sqrt(3 / math.prod(shape[1:]))
    return torch.from_numpy(values).to(torch.float32).to(torch.float64).view(shape)


class ResidualPlain(nn.Module):
    class Block(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
            self.downsample = (
                nn.Sequential(nn.Conv2d(inputs, width, 1, stride)) if inputs != width or stride != 1 else nn.Identity()
            )

        def forward(self, x):
            return (self.conv2(self.conv1(x).relu()) + self.downsample(x)).relu()

    def __init__(self, channels, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 2, 1)
        self.layer1 = nn.Sequential(self.Block(16, 16, 1))
        self.layer2 = nn.Sequential(self.Block(16, 32, 2), self.Block(32, 32, 1))
        self.layer3 = nn.Sequential(self.Block(32, 64, 2))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        return self.fc(self.layer3(self.layer2(self.layer1(self.conv1(x).relu()))).mean((2, 3)))


class Transformer(nn.Module):
    """Names are ours (timm's); the blocks are PyTorch's nn.TransformerEncoderLayer."""

    RENAMED = {
        "attn.qkv.weight": "self_attn.in_proj_weight",
        "attn.qkv.bias": "self_attn.in_proj_bias",
        "attn.proj": "self_attn.out_proj",
        "mlp.fc1": "linear1",
        "mlp.fc2": "linear2",
    }

    def __init__(self, channels, height, width, classes):
        super().__init__()
        self.side = max(2, -(-max(height, width) // 8))
        tokens = -(-height // self.side) * -(-width // self.side)
        self.pos_embed = nn.Parameter(torch.zeros(tokens, 64))
        self.patch_embed = nn.Sequential()
        self.patch_embed.proj = nn.Conv2d(channels, 64, self.side, self.side)
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(64, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(2))
        )
        self.fc_norm = nn.LayerNorm(64)
        self.head = nn.Linear(64, classes)

    def named(self):
        for name, parameter in self.named_parameters():
            for ours, theirs in self.RENAMED.items():
                name = name.replace(theirs, ours)
            yield name, parameter

    def forward(self, x):
        missing = [-x.shape[3] % self.side, -x.shape[2] % self.side]
        x = self.patch_embed.proj(pad(x, (0, missing[0], 0, missing[1]))).flatten(2).transpose(1, 2)
        return self.head(self.fc_norm(self.blocks(x + self.pos_embed).mean(1)))


class Unet(nn.Module):
    def __init__(self, channels):
        super().__init__()

        def double(inputs, width):
            return nn.Sequential(
                nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
            )

        self.inc, self.down1, self.down2 = double(channels, 8), double(8, 16), double(16, 32)
        self.up1, self.up2 = double(48, 16), double(24, 8)
        self.outc = nn.Conv2d(8, channels, 1)

    def forward(self, x):
        full = self.inc(x)
        half = self.down1(max_pool2d(full, 2))
        quarter = self.down2(max_pool2d(half, 2))
        half = self.up1(torch.cat([half, interpolate(quarter, size=half.shape[2:])], 1))
        return self.outc(self.up2(torch.cat([full, interpolate(half, size=full.shape[2:])], 1)))


def resnet18(classes):
    """torchvision's, with the stem for small images."""
    network = torchvision.models.resnet18(num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    return network


NETWORKS = {
    "residual-plain-small": (lambda image: ResidualPlain(image[0], 10), [1, 28, 28]),
    "transformer-small": (lambda image: Transformer(*image, 10), [3, 30, 20]),
    "unet-small": (lambda image: Unet(image[0]), [1, 14, 22]),
    "resnet18": (lambda _: resnet18(10), [3, 32, 32]),
    "pvt-v2-b0": (lambda _: timm.create_model("pvt_v2_b0", num_classes=10), [3, 64, 96]),
    "convnext-tiny": (lambda _: timm.create_model("convnext_tiny", num_classes=10), [3, 64, 32]),
}
LARGE = 1_000_000

torch.set_num_threads(1)
networks = {}
for name, (make, image) in NETWORKS.items():
    network = make(image).to(torch.float64).eval()
    named = dict(network.named() if hasattr(network, "named") else network.named_parameters())
    with torch.no_grad():
        for tensor, parameter in named.items():
            parameter.copy_(draw(tensor, list(parameter.shape)))
        for tensor, buffer in network.named_buffers():
            if buffer.dim() == 1:
                buffer.copy_(draw(tensor, list(buffer.shape)))
    every = 100_003 if sum(parameter.numel() for parameter in named.values()) > LARGE else 61
    images = draw("images", [2, *image])
    answer = network(images)
    if answer.dim() == 2:
        loss = cross_entropy(answer, torch.tensor([3, 7]))
    else:
        loss = mse_loss(answer, images.sin())
    loss.backward()
    gradients = {}
    for tensor, parameter in named.items():
        flat = parameter.grad.flatten()
        gradients[tensor] = [flat.sum().item(), flat.square().sum().item(), *flat[::every].tolist()]
    networks[name] = {
        "image": image,
        "every": every,
        "answer": answer.flatten().tolist(),
        "loss": loss.item(),
        "gradients": gradients,
    }
    print(f"{name}: {sum(p.numel() for p in named.values())} parameters, loss {loss.item():.4f}")

rounded = json.loads(json.dumps(networks), parse_float=lambda text: float(f"{float(text):.9g}"))
Path(__file__).with_suffix(".json").write_text(json.dumps({"torch": torch.__version__, "networks": rounded}) + "\n")
