"""keras_files.py FOLDER: writes networks as Keras stores them, and what they answer, computed by NumPy in float64.

FOLDER/cases.json: {"windows": {K: [[snapshots, oldest first]]}, "cases": [{"file", "snapshots", "residuals"}]}.
The layouts are those of Keras 2.15 and 3.5: models are saved in the order of their layers' distance to the output.
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np

folder = Path(sys.argv[1])
draw = np.random.default_rng(20250)
ROLES = ["dense1", "dense2", "c", "gate", "scale", "shift", "dense3"]  # by distance to the output


def dense(inputs, outputs, size):
    bound = size * (3 / inputs) ** 0.5
    return draw.uniform(-bound, bound, (inputs, outputs)).astype("f4"), draw.uniform(-0.1, 0.1, outputs).astype("f4")


def stream(inputs, size):
    shapes = {"dense1": (inputs, 128), "dense2": (128, 128), "c": (128, 8), "dense3": (128, 64)}
    sizes = {"dense1": size, "gate": 0.25}
    return {role: dense(*shapes.get(role, (8, 128)), sizes.get(role, 1)) for role in ROLES}


def leaky(x):
    return np.where(x > 0, x, 0.3 * x)


def apply(layer, x):
    return x @ layer[0].astype("f8") + layer[1].astype("f8")


def forward_stream(s, x):
    h = apply(s["dense2"], leaky(apply(s["dense1"], x)))
    c = np.maximum(apply(s["c"], h), 0)
    a = apply(s["shift"], c) + apply(s["scale"], c) * np.exp(apply(s["gate"], c) * h)
    return leaky(apply(s["dense3"], a))


def forward(streams, out, weights_first, windows):
    newest_first = windows[:, ::-1]
    inputs = [newest_first, newest_first[:, :-1] - newest_first[:, 1:]]
    both = [forward_stream(s, x) for s, x in zip(streams, inputs if weights_first else inputs[::-1])]
    return np.tanh(apply(out, np.concatenate(both, 1)))[:, 0]


def by_depth(streams, out, first):
    """[(layer, [(weights' name, arrays)])] of a model of Dense layers; numbers as if others had been made before."""
    layers = [("input_1", []), ("input_2", [])]
    for place, role in enumerate(ROLES):
        for number, s in enumerate(streams):
            name = f"dense_{first + place + 7 * number}"
            layers.append((name, [(name, s[role])]))
        layers.append((f"leaky_re_lu_{place}", []))
    return layers + [("concatenate", []), ("answer", [("answer", out)])]


def own_block(streams, out, order):
    """The same with A(h) as a layer of its own, which makes its layers in this order."""
    layers = []
    for role in ["dense1", "dense2"]:
        layers += [(f"{role}_{n}", [(f"{role}_{n}", s[role])]) for n, s in enumerate(streams)]
    for n, s in enumerate(streams):
        layers.append((f"a_{n}", [(f"a_{n}/part_{i}", s[role]) for i, role in enumerate(["c", *order])]))
    layers += [(f"dense3_{n}", [(f"dense3_{n}", s["dense3"])]) for n, s in enumerate(streams)]
    return layers + [("answer", [("answer", out)])]


def one_after_the_other(streams, out, order):
    """A model of the authors' own class: layers as they were made."""
    layers = []
    for n, s in enumerate(streams):
        for role in ["dense1", "dense2", "c", *order, "dense3"]:
            layers.append((f"{role}_{n}", [(f"{role}_{n}", s[role])]))
    return layers + [("answer", [("answer", out)])]


def write_old(file, layers, suffix=":0", kind="f4", **storage):
    file.attrs["layer_names"] = [name.encode() for name, _ in layers]
    file.attrs["backend"] = "tensorflow".encode()
    for name, weights in layers:
        group = file.create_group(name)
        names = []
        for weight, arrays in weights:
            for part, array in zip(["kernel", "bias"], arrays):
                names.append(f"{weight}/{part}{suffix}")
                group.create_dataset(names[-1], data=array.astype(kind), **storage)
        group.attrs["weight_names"] = [name.encode() for name in names]


def write_new(file, streams, out, **storage):
    """save_weights of Keras 3: layers have the names of their classes, numbered from 0."""
    layers = [s[role] for role in ROLES for s in streams] + [out]
    for number, arrays in enumerate(layers):
        for part, array in enumerate(arrays):
            name = "dense" if number == 0 else f"dense_{number}"
            file.create_dataset(f"layers/{name}/vars/{part}", data=array, **storage)
    file.create_group("layers/leaky_re_lu/vars")
    file.create_dataset("optimizer/vars/0", data=np.int64(7))


windows, cases = {}, []


def case(name, write, snapshots=15, weights_first=True, order=None, **options):
    sizes = [(snapshots, 4), (snapshots - 1, 10)]
    streams = [stream(*size) for size in (sizes if weights_first else sizes[::-1])]
    out = dense(128, 1, 2)
    if snapshots not in windows:
        steps = 0.005 * draw.standard_normal((32, snapshots))
        windows[snapshots] = (0.05 * draw.standard_normal((32, 1)) + steps.cumsum(1)).astype("f4")
    with h5py.File(folder / f"{name}.h5", "w", **options) as file:
        write(file, streams, out)
    residuals = forward(streams, out, weights_first, windows[snapshots].astype("f8"))
    assert 0.02 < abs(residuals).max() < 0.99, residuals
    cases.append({"file": f"{name}.h5", "snapshots": snapshots, "order": order, "residuals": residuals.tolist()})


FORMULA = ["shift", "scale", "gate"]
old = lambda first=3, **how: lambda f, s, o: write_old(f, by_depth(s, o, first), **how)

case("contiguous", old())
case("chunked", old(chunks=True))
case("gzip", old(first=98, compression="gzip", shuffle=True, fletcher32=True))
case("lzf", old(compression="lzf"))
case("newest-format", old(chunks=True), libver="latest")
case("tracked-order", old(), track_order=True)
case("double", old(kind=">f8"))
for snapshots in (2, 5, 8, 9):
    case(f"k{snapshots}", old(), snapshots=snapshots)
case("differences-first", old(), weights_first=False)


def whole(suffix):
    def write(file, streams, out):
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "padding": "x" * 20_000})
        write_old(file.create_group("model_weights"), by_depth(streams, out, 0), suffix)
        file.create_group("model_weights/top_level_model_weights").attrs["weight_names"] = np.array([])
        file.create_dataset("optimizer_weights/iteration:0", data=np.int64(7))
    return write


case("whole-model-keras-2", whole(":0"))
case("whole-model-keras-3", whole(""))
case("new-weights", lambda f, s, o: write_new(f, s, o))
case("new-weights-gzip", lambda f, s, o: write_new(f, s, o, compression="gzip"))
case("own-block", lambda f, s, o: write_old(f, own_block(s, o, FORMULA)))
case("one-after-the-other", lambda f, s, o: write_old(f, one_after_the_other(s, o, FORMULA)))
other = ["gate", "shift", "scale"]
case("other-order", lambda f, s, o: write_old(f, own_block(s, o, other)), order=",".join(other))


def spoiled(change):
    def write(file, streams, out):
        layers = by_depth(streams, out, 0)
        write_old(file, layers)
        change(file)
    return write


def bad(name, change):
    with h5py.File(folder / f"bad-{name}.h5", "w") as file:
        spoiled(change)(file, [stream(15, 1), stream(14, 1)], dense(128, 1, 1))


def replace(path, array):
    def change(file):
        del file[path]
        if array is not None:
            file[path] = array
    return change


bad("missing", replace("dense_0/dense_0/kernel:0", None))
bad("shape", replace("dense_1/dense_1/kernel:0", np.zeros((128, 7), "f4")))
bad("bias", replace("dense_6/dense_6/bias:0", np.zeros(65, "f4")))
bad("snapshots", replace("dense_7/dense_7/kernel:0", np.zeros((12, 128), "f4")))
bad("integers", replace("dense_1/dense_1/kernel:0", np.zeros((128, 128), "i4")))
bad("infinite", replace("dense_1/dense_1/bias:0", np.full(128, np.inf, "f4")))
bad("rank", replace("dense_1/dense_1/kernel:0", np.zeros((3, 3, 128, 128), "f4")))
bad("huge", lambda f: (replace("dense_1/dense_1/kernel:0", None)(f),
                       f.create_dataset("dense_1/dense_1/kernel:0", (1 << 40, 128), "f4", chunks=(64, 128))))
bad("other-network", lambda f: replace("layer_names", None) and f.attrs.__setitem__("layer_names", [b"dense_0"]))
with h5py.File(folder / "bad-not-keras.h5", "w") as file:
    file["x"] = np.zeros(3)

(folder / "cases.json").write_text(json.dumps({"windows": {k: w.tolist() for k, w in windows.items()}, "cases": cases}))
