"""The authors' ResNet-18 for images of 32 x 32, layer by layer as Keras pads and normalises.

Jang, Kim, Youn (AAAI 2025); held against `ResNet18` of ResNet_CIFAR10_LabelNoise/resnet.py in jjh6297/InvWNN. Border
of 3 and a 7 x 7 convolution, BatchNorm (epsilon 1e-3), ReLU, border of 1, no pooling; two basic blocks each of 64,
128 (stride 1), 256 and 512 (stride 2); convolutions with bias and TensorFlow's `same` padding, which for stride 2
puts the odd pixel to the right and to the bottom; a 1 x 1 shortcut with bias in the first block of 128, 256 and 512.
For 32 x 32 the maps have 34, 17 and 9 pixels a side. Answers are logits, before Keras' softmax.
"""

from torch import nn
from torch.nn import functional

from faults import planted
from protocol import Malformed

EPSILON = 1e-3
STAGES = ((64, 1, False), (128, 1, True), (256, 2, True), (512, 2, True))  # width, stride, shortcut in the first block
FAULTS = ["symmetric-padding", "epsilon-of-pytorch", "border-missing", "shortcut-without-norm"]


def pad_same(images, kernel, stride):
    """TensorFlow's `same`: ceil(size / stride) results, the odd pixel of padding to the right and to the bottom."""
    padding = []
    for size in images.shape[:1:-1]:  # width first, as functional.pad wants it
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before = (total + 1) // 2 if planted("symmetric-padding") else total // 2
        padding += [before, total - before]
    return functional.pad(images, padding)


class ConvolveAndNormalise(nn.Module):
    """Convolution with bias under `same` padding, then BatchNorm."""

    def __init__(self, channels, width, kernel, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride)
        self.norm = nn.BatchNorm2d(width, eps=1e-5 if planted("epsilon-of-pytorch") else EPSILON, momentum=0.01)
        self.kernel, self.stride = kernel, stride

    def forward(self, images):
        """[batch, channels, height, width] to [batch, width, ceil(height / stride), ceil(width / stride)]."""
        return self.norm(self.conv(pad_same(images, self.kernel, self.stride)))


class Block(nn.Module):
    """Two 3 x 3 convolutions, and the input or its 1 x 1 projection added before the last ReLU."""

    def __init__(self, channels, width, stride, projects):
        super().__init__()
        self.first = ConvolveAndNormalise(channels, width, 3, stride)
        self.second = ConvolveAndNormalise(width, width, 3, 1)
        self.shortcut = ConvolveAndNormalise(channels, width, 1, stride) if projects else None

    def forward(self, images):
        """The block's map."""
        result = self.second(functional.relu(self.first(images)))
        if self.shortcut is None:
            return functional.relu(result + images)
        if planted("shortcut-without-norm"):
            return functional.relu(result + self.shortcut.conv(pad_same(images, 1, self.shortcut.stride)))
        return functional.relu(result + self.shortcut(images))


class ResNet18Keras(nn.Module):
    """Names: stem.conv, stem.norm, stages.<0-3>.<0-1>.first|second|shortcut.conv|norm, classifier."""

    def __init__(self, channels, widths, classes):
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv = nn.Conv2d(channels, widths[0], 7, padding=3)
        self.stem.norm = nn.BatchNorm2d(widths[0], eps=EPSILON, momentum=0.01)
        self.stages = nn.ModuleList()
        before = widths[0]
        for width, (_, stride, projects) in zip(widths, STAGES):
            self.stages.append(nn.Sequential(Block(before, width, stride, projects), Block(width, width, 1, False)))
            before = width
        self.classifier = nn.Linear(before, classes)

    def forward(self, images):
        """Logits [batch, classes]."""
        images = functional.relu(self.stem.norm(self.stem.conv(images)))
        if not planted("border-missing"):
            images = functional.pad(images, [1, 1, 1, 1])
        for stage in self.stages:
            images = stage(images)
        return self.classifier(images.mean(dim=(2, 3)))


def build(inputs, dtype):
    """The network with the case's `weights.*` and `buffers.*`; widths are those of the tensors."""
    given = {**inputs.under("weights."), **inputs.under("buffers.")}
    try:
        stem, last = given["stem.conv.weight"], given["classifier.weight"]
        widths = [given[f"stages.{stage}.0.first.conv.weight"].shape[0] for stage in range(len(STAGES))]
        network = ResNet18Keras(stem.shape[1], widths, last.shape[0]).to(dtype)
    except KeyError as missing:
        raise Malformed(f"inputs.safetensors: tensor weights.{missing.args[0]} is missing") from missing
    unknown = set(given) ^ {name for name in network.state_dict() if "num_batches" not in name}
    if unknown:
        raise Malformed(f"inputs.safetensors: resnet18-keras has {sorted(unknown)} too many or too few")
    network.load_state_dict(given, strict=False)
    return network
