"""Writes image_data_generator.json: images as Keras' ImageDataGenerator changes them, and what tf.image.resize makes of one.

Run: python image_data_generator.py               (needs tensorflow-cpu 2.15, whose Keras is 2.15, and scipy)

    image [2, 7, 10]        channels, rows, columns; pixel i of it is a hash of i
    cases                   for each: the generator's parameters (angles in degrees, shifts in pixels), whether the image was
                            mirrored, and the changed image, flat
    drawn                   {parameter: [smallest, mean, standard deviation, largest]} over DRAWS draws for images of 32 x 32
                            with the ranges that InvWNN's authors give it
    resized                 the image at RESIZED pixels a side, flat
The generator interpolates linearly, fills with the nearest pixel, and works in float64 on float32 images. Its `tx` and `zx`
move and scale along the columns in this version, whatever they are drawn from.
"""

import json
from pathlib import Path

import numpy
import tensorflow as tf
from tensorflow.keras.preprocessing.image import ImageDataGenerator

SHAPE, DRAWS, RESIZED = (2, 7, 10), 20_000, 20
RANGES = {"rotation_range": 10, "width_shift_range": 0.15, "height_shift_range": 0.15, "horizontal_flip": True,
          "shear_range": 0.1, "zoom_range": 0.3, "fill_mode": "nearest"}
PLAIN = {"theta": 0, "tx": 0, "ty": 0, "shear": 0, "zx": 1, "zy": 1, "flip_horizontal": False}
CASES = [
    PLAIN | {"theta": 30},
    PLAIN | {"tx": 1.25, "ty": -2.5},
    PLAIN | {"shear": 20},
    PLAIN | {"zx": 0.75, "zy": 1.3},
    PLAIN | {"theta": -8, "tx": -0.9, "ty": 1.4, "shear": 12, "zx": 1.2, "zy": 0.8, "flip_horizontal": True},
    PLAIN | {"theta": 140, "tx": 2, "ty": 3, "shear": -35, "zx": 0.4, "zy": 0.6},
]

index = numpy.arange(numpy.prod(SHAPE), dtype=numpy.uint64)
image = ((index * 2654435761 % 2**32) / 2**32).astype(numpy.float32).reshape(SHAPE)
generator = ImageDataGenerator(data_format="channels_first", **RANGES)
cases = []
for case in CASES:
    changed = generator.apply_transform(image.copy(), case)
    cases.append({
        "rotate": case["theta"], "columns": case["tx"], "rows": case["ty"], "shear": case["shear"],
        "zoom-columns": case["zx"], "zoom-rows": case["zy"], "mirrored": case["flip_horizontal"],
        "changed": changed.ravel().tolist(),
    })

numpy.random.seed(1)
drawn = [generator.get_random_transform((3, 32, 32)) for _ in range(DRAWS)]
names = {"theta": "rotate", "tx": "columns", "ty": "rows", "shear": "shear", "zx": "zoom-columns", "zy": "zoom-rows",
         "flip_horizontal": "mirrored"}
columns = {ours: numpy.array([float(case[theirs]) for case in drawn]) for theirs, ours in names.items()}
resized = tf.image.resize(image.transpose([1, 2, 0])[None], [RESIZED, RESIZED])[0].numpy().transpose([2, 0, 1])
found = {
    "tensorflow": tf.__version__,
    "shape": SHAPE,
    "image": image.ravel().tolist(),
    "cases": cases,
    "drawn": {name: [v.min(), v.mean(), v.std(), v.max()] for name, v in columns.items()},
    "draws": DRAWS,
    "side": RESIZED,
    "resized": resized.ravel().tolist(),
}
text = json.dumps(json.loads(json.dumps(found), parse_float=lambda text: float(f"{float(text):.8g}")))
Path(__file__).with_suffix(".json").write_text(text + "\n")
print(json.dumps(found["drawn"], indent=1))
