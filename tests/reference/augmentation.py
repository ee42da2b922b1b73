"""Augmentation with drawn parameters: Keras' affine map, and crop with flip.

`keras-affine`: ImageDataGenerator. Rotation, shift, shear and zoom are multiplied in this order to one matrix from
output to input coordinates, about the middle (height / 2 - 0.5, width / 2 - 0.5), with linear interpolation, and
beyond the edge the nearest pixel; the flip comes last. Held against `apply_affine_transform` in
keras_preprocessing/image/affine_transformations.py of keras-team/keras-preprocessing: 120 drawn maps on square and
other images, no bit differs. `crop-flip`: torchvision's RandomCrop with zero padding, then RandomHorizontalFlip, as
dataset.py of OPTML-Group/Unlearn-Saliency has them.
"""

import numpy
import torch

from faults import planted
from protocol import Malformed

FAULTS = {
    "keras-affine": [
        "wrong-sign",
        "axes-swapped",
        "factors-reversed",
        "centre-of-old-releases",
        "zeros-outside",
        "nearest-pixel",
        "flip-first",
        "flip-forgotten",
        "degrees-as-radians",
    ],
    "crop-flip": ["wrong-sign", "edge-for-zero", "flip-forgotten", "axes-swapped"],
}


def list_faults(case, _inputs=None):
    """The faults that can show in this case."""
    return FAULTS[case["augment"]]


def affine_matrix(theta, tx, ty, shear, zx, zy, height, width):
    """3x3, from output (row, column, 1) to input (row, column); angles in degrees, shifts in pixels.

    Keras speaks of (x, y) and swaps rows and columns of the finished matrix, so `tx`, drawn from
    `height_shift_range`, moves along columns and `ty` along rows, and the middle is (height, width) taken as (x, y).
    """
    angle, lean = (theta, shear) if planted("degrees-as-radians") else numpy.deg2rad([theta, shear])
    if planted("wrong-sign"):
        angle = -angle
    rotation = numpy.array(
        [[numpy.cos(angle), -numpy.sin(angle), 0], [numpy.sin(angle), numpy.cos(angle), 0], [0, 0, 1]]
    )
    shift = numpy.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    shearing = numpy.array([[1, -numpy.sin(lean), 0], [0, numpy.cos(lean), 0], [0, 0, 1]])
    zoom = numpy.diag([zx, zy, 1])
    factors = [rotation, shift, shearing, zoom]
    product = numpy.linalg.multi_dot(factors[::-1] if planted("factors-reversed") else factors)
    half = 0.5 if planted("centre-of-old-releases") else -0.5
    x, y = height / 2 + half, width / 2 + half
    about = numpy.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ product @ numpy.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
    if planted("axes-swapped"):
        return about
    return about[numpy.ix_([1, 0, 2], [1, 0, 2])]


def sample_linearly(image, matrix):
    """`image` [channels, height, width] at matrix (row, column, 1): linear, the nearest pixel beyond the edge."""
    _, height, width = image.shape
    rows, columns = numpy.mgrid[:height, :width]
    at = matrix[:2] @ numpy.stack([rows.ravel(), columns.ravel(), numpy.ones(height * width)])
    outside = ((at < 0) | (at > [[height - 1], [width - 1]])).any(axis=0)
    at = numpy.clip(at, 0, [[height - 1], [width - 1]])
    if planted("nearest-pixel"):
        at = at.round()
    low = numpy.minimum(numpy.floor(at), [[max(height - 2, 0)], [max(width - 2, 0)]]).astype(int)
    high = numpy.minimum(low + 1, [[height - 1], [width - 1]])
    down, right = at - low
    image = image.astype(numpy.float64)
    values = (1 - down) * ((1 - right) * image[:, low[0], low[1]] + right * image[:, low[0], high[1]]) + down * (
        (1 - right) * image[:, high[0], low[1]] + right * image[:, high[0], high[1]]
    )
    if planted("zeros-outside"):
        values[:, outside] = 0
    return values.reshape(image.shape)


def flip(image, flipped):
    """Columns mirrored where `flipped`."""
    return image[..., ::-1] if flipped and not planted("flip-forgotten") else image


def crop(image, top, left, padding):
    """The window of the image's own size at (top, left) of the image with `padding` zeros all around."""
    _, height, width = image.shape
    if planted("wrong-sign"):
        top, left = 2 * padding - top, 2 * padding - left
    if planted("axes-swapped"):
        top, left = left, top
    mode = "edge" if planted("edge-for-zero") else "constant"
    padded = numpy.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode=mode)
    return padded[:, top : top + height, left : left + width]


def compute(case, inputs):
    """Kind `augment`: `images` [n, channels, height, width] as float32 after the map drawn for each."""
    images = inputs["images"].numpy()
    drawn = {name: tensor.tolist() for name, tensor in inputs.tensors.items() if name != "images"}
    count, results = len(images), []
    for index, image in enumerate(images):
        flipped = bool(drawn.get("flip", [0] * count)[index])
        if case["augment"] == "keras-affine":
            neutral = {"theta": 0.0, "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0}
            values = {name: drawn.get(name, [value] * count)[index] for name, value in neutral.items()}
            if planted("flip-first"):
                image = flip(image, flipped)
            image = sample_linearly(image, affine_matrix(**values, height=image.shape[1], width=image.shape[2]))
            results.append(image if planted("flip-first") else flip(image, flipped))
        elif case["augment"] == "crop-flip":
            results.append(flip(crop(image, drawn["top"][index], drawn["left"][index], case["padding"]), flipped))
        else:
            raise Malformed(f"case.augment is {case['augment']!r}, not keras-affine or crop-flip")
    return {"images": torch.from_numpy(numpy.stack(results).astype(numpy.float32))}, {}
