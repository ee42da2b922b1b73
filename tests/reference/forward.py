"""Kind `network`: what a network answers to given images, in inference mode or in training mode.

vgg-small and mlp: see networks.py. `resnet18-keras`: the ResNet-18 of Jang et al. (AAAI 2025), resnet.py of
jjh6297/InvWNN, which was run with Keras 3 on drawn weights and images: 11,186,442 trained parameters, logits at most
3e-7 of the largest apart.
"""

import torch

import resnet18_keras
from faults import planted
from networks import build_network
from protocol import Malformed


def list_faults(case, _inputs=None):
    """The faults that can show in this case."""
    known = ["wrong-sign"] + (resnet18_keras.FAULTS if case["network"] == "resnet18-keras" else [])
    return known + (["other-mode"] if case["network"] != "mlp" else [])


FAULTS = ["wrong-sign", *resnet18_keras.FAULTS, "other-mode"]


def compute(case, inputs):
    """`logits` [n, classes] of `images`; where training mode moves BatchNorm's statistics, `buffers.<name>`, too."""
    dtype = getattr(torch, case.get("dtype", "float32"))
    mode = case.get("mode", "inference")
    if mode not in ("inference", "train"):
        raise Malformed(f"case.mode is {mode!r}, not inference or train")
    if case["network"] == "resnet18-keras":
        if mode == "train":
            raise Malformed("case.mode is 'train', but resnet18-keras was published with BatchNorm frozen")
        network = resnet18_keras.build(inputs, dtype)
    else:
        network = build_network(case["network"], inputs, dtype)
    network.train((mode == "train") != planted("other-mode"))
    with torch.no_grad():
        logits = network(inputs["images"].to(dtype))
    buffers = {f"buffers.{name}": tensor for name, tensor in network.named_buffers() if "num_batches" not in name}
    return {"logits": -logits if planted("wrong-sign") else logits} | (buffers if mode == "train" else {}), {}
