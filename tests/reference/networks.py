"""The small networks of the cases, in PyTorch's own modules: one with BatchNorm, one without."""

import json

import torch
from torch import nn

from protocol import Malformed

# vgg-small: convolutions by group; a 2x2 max-pool stands before the 2nd and the 3rd group and after the last.
GROUPS = (1, 2, 1)


class VggSmall(nn.Module):
    """3x3 convolutions without bias, each with BatchNorm and ReLU, in groups; average over the map; one linear layer.

    Simonyan and Zisserman, "Very Deep Convolutional Networks" (ICLR 2015), with BatchNorm. Input
    [batch, channels, height, width], output [batch, classes]. Widths are those of the given tensors. Indices in
    names count convolution, BatchNorm, ReLU and pool, as torchvision's VGG does: convolutions are 0, 4, 7 and 11.
    """

    def __init__(self, weights):
        super().__init__()
        layers = []
        for group, convolutions in enumerate(GROUPS):
            if group > 0:
                layers.append(nn.MaxPool2d(2))
            for _ in range(convolutions):
                width, channels = weights[f"features.{len(layers)}.weight"].shape[:2]
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width, eps=1e-5, momentum=0.1),
                    nn.ReLU(),
                ]
        layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        classes, width = weights["classifier.weight"].shape
        self.classifier = nn.Linear(width, classes)

    def forward(self, images):
        return self.classifier(self.features(images).mean(dim=(2, 3)))

    def last_layer(self):
        """The linear layer that answers the classes."""
        return self.classifier

    last_layer_name = "classifier"


class Mlp(nn.Module):
    """Linear layers with ReLU between them on the flattened image. Input [batch, ...], output [batch, classes]."""

    def __init__(self, weights, names):
        super().__init__()
        self.stems = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
        for stem in self.stems:
            width, inputs = weights[f"{stem}.weight"].shape
            self._place(stem, nn.Linear(inputs, width))
        self.last_layer_name = self.stems[-1]

    def _place(self, stem, layer):
        *path, leaf = stem.split(".")
        parent = self
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = getattr(parent, part)
        parent.add_module(leaf, layer)

    def forward(self, images):
        hidden = images.flatten(1)
        for stem in self.stems[:-1]:
            hidden = torch.relu(self.get_submodule(stem)(hidden))
        return self.get_submodule(self.stems[-1])(hidden)

    def last_layer(self):
        """The linear layer that answers the classes."""
        return self.get_submodule(self.stems[-1])


def build_network(name, inputs, dtype=torch.float32):
    """The network of a case with the case's `weights.*` and `buffers.*` in it."""
    weights = inputs.under("weights.")
    if name == "vgg-small":
        network = VggSmall(weights)
    elif name == "mlp":
        if "names" not in inputs.metadata:
            raise Malformed("inputs.safetensors: metadata key `names` is missing, without which an mlp has no order")
        network = Mlp(weights, [n.removeprefix("weights.") for n in json.loads(inputs.metadata["names"])])
    else:
        raise Malformed(f"case.network is {name!r}, not vgg-small or mlp")
    network.to(dtype)
    state = network.state_dict()
    given = {**weights, **inputs.under("buffers.")}
    expected = {key for key in state if not key.endswith("num_batches_tracked")}
    if set(given) != expected:
        raise Malformed(f"inputs.safetensors: {name} has tensors {sorted(expected ^ set(given))} too many or too few")
    with torch.no_grad():
        for key, tensor in given.items():
            if state[key].shape != tensor.shape:
                raise Malformed(f"`{key}` has shape {list(tensor.shape)} instead of {list(state[key].shape)}")
            state[key].copy_(tensor)
    return network


def batch_norms(network):
    """The BatchNorm layers, in order."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def list_weights(network):
    """Name and parameter of everything that could train."""
    return dict(network.named_parameters())


def list_statistics(network):
    """Name and tensor of BatchNorm's running means and variances."""
    return {name: buffer for name, buffer in network.named_buffers() if not name.endswith("num_batches_tracked")}


def operation_type(tensor):
    """Operation type of a coordinate, from its tensor's dimensions (Jang et al., AAAI 2025, section on InvWNN)."""
    return {4: "convolution", 3: "convolution", 2: "fully-connected"}.get(tensor.dim(), "bias")
