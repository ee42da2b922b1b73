"""Writes keras_resnet18.json: answers and gradients of the ResNet-18 that InvWNN's authors describe, by Keras' own layers.

Run: python keras_resnet18.py               (needs tensorflow-cpu 2.15, whose Keras is 2.15)

The network is as the paper's constants say: a border of 3 zeros, a 7x7 convolution, BatchNorm, ReLU, a border of 1 zero, two
basic blocks each of 64, 128, 256 and 512 channels (strides 1, 1, 2, 2), the mean over all places, a dense layer. Every
convolution has a bias, padding is "same" where it is not said otherwise, and BatchNorm is Keras' default.
Weights and inputs are not stored: they follow from their names, as networks.py draws them; names are torchvision's.
    image, answer, loss, every, gradients      as in networks.json
    parameters            how many train
    maps                  sides of the maps of the four stages
    weights               {tensor: [mean, standard deviation, largest magnitude]} of Keras' own fresh weights
Everything is float64.
"""

import json
import math
from pathlib import Path

import numpy
import tensorflow as tf
from tensorflow.keras import layers

IMAGE, CLASSES, EVERY = [3, 32, 32], 10, 100_003


def draw(name, shape):
    """As in networks.py; `shape` is torch's."""
    start = sum(byte * 131**place for place, byte in enumerate(name.encode())) % 2**32
    index = numpy.arange(math.prod(shape), dtype=numpy.uint64)
    values = ((start + index) * 2654435761 % 2**32).astype(numpy.float64) / 2**31 - 1
    if len(shape) == 1:
        values = (1.0 if name.endswith(("weight", "running_var")) else 0.0) + values / 8
    elif name != "images":
        values = values * math.sqrt(3 / math.prod(shape[1:]))
    return values.astype(numpy.float32).astype(numpy.float64).reshape(shape)


def convolution(x, name, width, kernel, stride=1, padding="same"):
    return layers.Conv2D(width, kernel, stride, padding, kernel_initializer="he_normal", name=name)(x)


def block(x, name, width, stride):
    """A basic block; the shortcut is a convolution where the channels change."""
    y = convolution(x, f"{name}.conv1", width, 3, stride)
    y = layers.ReLU()(layers.BatchNormalization(name=f"{name}.bn1")(y))
    y = layers.BatchNormalization(name=f"{name}.bn2")(convolution(y, f"{name}.conv2", width, 3))
    if x.shape[-1] != width:
        x = convolution(x, f"{name}.downsample.0", width, 1, stride)
        x = layers.BatchNormalization(name=f"{name}.downsample.1")(x)
    return layers.ReLU()(layers.add([y, x]))


def network():
    images = layers.Input((IMAGE[1], IMAGE[2], IMAGE[0]))
    x = convolution(layers.ZeroPadding2D(3)(images), "conv1", 64, 7, padding="valid")
    x = layers.ZeroPadding2D(1)(layers.ReLU()(layers.BatchNormalization(name="bn1")(x)))
    maps = []
    for stage, (width, stride) in enumerate([(64, 1), (128, 1), (256, 2), (512, 2)], 1):
        x = block(block(x, f"layer{stage}.0", width, stride), f"layer{stage}.1", width, 1)
        maps.append(x.shape[1])
    return tf.keras.Model(images, layers.Dense(CLASSES, name="fc")(layers.GlobalAveragePooling2D()(x))), maps


def torchs(layer):
    """(torch's name, Keras' variable, whether it is a running statistic) of a layer."""
    ours = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias",
            "moving_mean": "running_mean", "moving_variance": "running_var"}
    for variable in layer.weights:
        name = ours[variable.name.split("/")[-1].split(":")[0]]
        yield f"{layer.name}.{name}", variable, name.startswith("running")


def to_torch(array):
    """[height, width, inputs, outputs] -> [outputs, inputs, height, width], [inputs, outputs] -> its transpose."""
    return array.transpose([3, 2, 0, 1]) if array.ndim == 4 else array.T


def to_keras(array):
    return array.transpose([2, 3, 1, 0]) if array.ndim == 4 else array.T


tf.keras.backend.set_floatx("float64")
tf.keras.utils.set_random_seed(1)
model, maps = network()
fresh, trained = {}, {}
for layer in model.layers:
    for name, variable, is_statistic in torchs(layer):
        values = variable.numpy()
        fresh[name] = [values.mean(), values.std(), abs(values).max()]
        variable.assign(to_keras(draw(name, list(to_torch(values).shape))))
        if not is_statistic:
            trained[name] = variable
images = draw("images", [2, *IMAGE])
with tf.GradientTape() as tape:
    answer = model(images.transpose([0, 2, 3, 1]), training=False)
    losses = tf.keras.losses.sparse_categorical_crossentropy([3, 7], answer, from_logits=True)
    loss = tf.reduce_mean(losses)
gradients = {}
for (name, _), gradient in zip(trained.items(), tape.gradient(loss, list(trained.values()))):
    flat = to_torch(gradient.numpy()).ravel()
    gradients[name] = [flat.sum(), (flat**2).sum(), *flat[::EVERY].tolist()]
found = {
    "tensorflow": tf.__version__,
    "parameters": sum(variable.numpy().size for variable in trained.values()),
    "maps": maps,
    "weights": fresh,
    "image": IMAGE,
    "every": EVERY,
    "answer": answer.numpy().ravel().tolist(),
    "loss": float(loss),
    "gradients": gradients,
}
text = json.dumps(json.loads(json.dumps(found), parse_float=lambda text: float(f"{float(text):.9g}")))
Path(__file__).with_suffix(".json").write_text(text + "\n")
print(found["parameters"], maps, found["loss"])
