"""keras_files.py FOLDER: writes networks as Keras stores them, and what they answer, computed by NumPy in float64.

FOLDER/cases.json: {"windows": {NAME: [[snapshots, oldest first]]},
                    "cases": [{"file", "network", "snapshots", "windows", "residuals"}]}.
A residual is added to the oldest snapshot by InvWNN, to the newest by WNN.
The layouts are those of Keras 2.15 and 3.5: models are saved in the order of their layers' distance to the output.
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np

folder = Path(sys.argv[1])
draw = np.random.default_rng(20250)
# By distance to the output.
ROLES = {
    "InvWNN": ["dense1", "dense2", "c", "gate", "scale", "shift", "dense3"],
    "WNN": ["dense1", "c", "gate", "scale", "shift", "dense2"],
}


def dense(inputs, outputs, size):
    bound = size * (3 / inputs) ** 0.5
    return draw.uniform(-bound, bound, (inputs, outputs)).astype("f4"), draw.uniform(-0.1, 0.1, outputs).astype("f4")


def stream(inputs, size, network="InvWNN"):
    wide = {"InvWNN": 128, "WNN": 64}[network]
    shapes = {"dense1": (inputs, wide), "c": (wide, 8), ROLES[network][-1]: (wide, wide // 2)}
    if network == "InvWNN":
        shapes["dense2"] = (wide, wide)
    sizes = {"dense1": size, "gate": 0.25}
    return {role: dense(*shapes.get(role, (8, wide)), sizes.get(role, 1)) for role in ROLES[network]}


def leaky(x):
    return np.where(x > 0, x, 0.3 * x)


def apply(layer, x):
    return x @ layer[0].astype("f8") + layer[1].astype("f8")


def forward_stream(s, x):
    h = apply(s["dense1"], x)
    if "dense3" in s:  # InvWNN has one layer more
        h = apply(s["dense2"], leaky(h))
    c = np.maximum(apply(s["c"], h), 0)
    a = apply(s["shift"], c) + apply(s["scale"], c) * np.exp(apply(s["gate"], c) * h)
    return leaky(apply(s["dense3" if "dense3" in s else "dense2"], a))


def forward(network, streams, out, weights_first, windows):
    if network == "InvWNN":  # reads the reversed trajectory as it is
        values, unit = windows[:, ::-1], 1
    else:  # reads the trajectory in units of its range, from its oldest value
        values = windows - windows[:, :1]
        unit = 2 * (values.max(1, keepdims=True) - values.min(1, keepdims=True) + 1e-8 + 1e-5)
        values = values / unit
    inputs = [values, values[:, 1:] - values[:, :-1]]  # each the next minus this one
    both = [forward_stream(s, x) for s, x in zip(streams, inputs if weights_first else inputs[::-1])]
    return (np.tanh(apply(out, np.concatenate(both, 1))) * unit)[:, 0]


def way_of(network, streams, out, weights_first, snapshots):
    """1 where it looks the right way, -1 where it looks the other way, 0 where a drift's way hardly matters to it.

    InvWNN takes back some of a small drift, WNN goes on with one of 1e-3, up and down.
    """
    drift = {"InvWNN": 1e-4, "WNN": 1e-3}[network] * np.linspace(0, 1, snapshots)
    up, down = forward(network, streams, out, weights_first, np.stack([drift, -drift]))
    if network == "InvWNN":
        return np.sign(down - up)
    return np.sign(up) if up * down < 0 else 0


def draw_network(network, snapshots, weights_first, way, suits):
    """Streams and the last layer of a network that looks this way."""
    sizes = [(snapshots, 4), (snapshots - 1, 10)] if network == "InvWNN" else [(snapshots, 1), (snapshots - 1, 1)]
    while True:
        streams = [stream(*size, network) for size in (sizes if weights_first else sizes[::-1])]
        out = dense({"InvWNN": 128, "WNN": 64}[network], 1, 2)
        if way == 0:
            out = (1e-3 * out[0], out[1] + np.float32(0.2))
        elif way_of(network, streams, out, weights_first, snapshots) == -way:
            out = (-out[0], -out[1])
        # What rests is answered clearly, so that rounding is small beside it.
        rest = forward(network, streams, out, weights_first, np.zeros((1, snapshots)))
        is_clear = network == "InvWNN" or abs(rest[0]) > 1e-6
        if way_of(network, streams, out, weights_first, snapshots) == way and is_clear and suits(streams, out):
            return streams, out


def by_depth(streams, out, first):
    """[(layer, [(weights' name, arrays)])] of a model of Dense layers; numbers as if others had been made before."""
    layers = [("input_1", []), ("input_2", [])]
    for place, role in enumerate(streams[0]):
        for number, s in enumerate(streams):
            name = f"dense_{first + place + len(s) * number}"
            layers.append((name, [(name, s[role])]))
        layers.append((f"leaky_re_lu_{place}", []))
    return layers + [("concatenate", []), ("answer", [("answer", out)])]


def own_block(streams, out, order):
    """The same with A(h) as a layer of its own, which makes its layers in this order."""
    layers = []
    roles = list(streams[0])
    for role in roles[:roles.index("c")]:
        layers += [(f"{role}_{n}", [(f"{role}_{n}", s[role])]) for n, s in enumerate(streams)]
    for n, s in enumerate(streams):
        layers.append((f"a_{n}", [(f"a_{n}/part_{i}", s[role]) for i, role in enumerate(["c", *order])]))
    layers += [(f"{roles[-1]}_{n}", [(f"{roles[-1]}_{n}", s[roles[-1]])]) for n, s in enumerate(streams)]
    return layers + [("answer", [("answer", out)])]


def one_after_the_other(streams, out, order):
    """A model of the authors' own class: layers as they were made."""
    layers = []
    for n, s in enumerate(streams):
        roles = list(s)
        for role in [*roles[:roles.index("c") + 1], *order, roles[-1]]:
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
    layers = [s[role] for role in streams[0] for s in streams] + [out]
    for number, arrays in enumerate(layers):
        for part, array in enumerate(arrays):
            name = "dense" if number == 0 else f"dense_{number}"
            file.create_dataset(f"layers/{name}/vars/{part}", data=array, **storage)
    file.create_group("layers/leaky_re_lu/vars")
    file.create_dataset("optimizer/vars/0", data=np.int64(7))


windows, cases = {}, []


def case(name, write, snapshots=15, weights_first=True, order=None, network="InvWNN", way=1, suits=lambda *_: True,
         **options):
    streams, out = draw_network(network, snapshots, weights_first, way, suits)
    # Steps of other sizes matter to WNN alone: far above its floor, at it and far below, and none at all.
    for size in [0.005] if network == "InvWNN" else [0.005, 1e-5, 1e-7, 0]:
        of_size = f"{snapshots}-{size}"
        if of_size not in windows:
            steps = size * draw.standard_normal((32, snapshots))
            start = 0.05 * draw.standard_normal((32, 1)) if size == 0.005 else 0
            windows[of_size] = (start + steps.cumsum(1)).astype("f4")
        residuals = forward(network, streams, out, weights_first, windows[of_size].astype("f8"))
        if network == "InvWNN":
            assert 0.02 < abs(residuals).max() < 0.99, residuals
        else:
            assert abs(residuals).max() > 1e-7, residuals
        cases.append({"file": f"{name}.h5", "network": network, "snapshots": snapshots, "windows": of_size,
                      "order": order, "residuals": residuals.tolist()})
    with h5py.File(folder / f"{name}.h5", "w", **options) as file:
        write(file, streams, out)


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
case("walks-forward", old(), way=-1)

case("wnn", old(first=14), 5, network="WNN")
case("wnn-gzip", old(compression="gzip", shuffle=True), 5, network="WNN")
for snapshots in (2, 8, 9, 15):
    case(f"wnn-k{snapshots}", old(), snapshots, network="WNN")
case("wnn-differences-first", old(), 5, weights_first=False, network="WNN")
case("wnn-whole-model-keras-2", whole(":0"), 5, network="WNN")
case("wnn-new-weights", lambda f, s, o: write_new(f, s, o), 5, network="WNN")
case("wnn-own-block", lambda f, s, o: write_old(f, own_block(s, o, FORMULA)), 5, network="WNN")
case("wnn-one-after-the-other", lambda f, s, o: write_old(f, one_after_the_other(s, o, FORMULA)), 5, network="WNN")
case("wnn-walks-back", old(), 5, network="WNN", way=-1)
case("wnn-constant", old(), 5, network="WNN", way=0)
backwards = ["gate", "scale", "shift"]


def misleads(streams, out):
    """Read in the order of the formula it goes on with a drift up, and as far up with a drift down."""
    misread = [{**s, "gate": s["shift"], "shift": s["gate"]} for s in streams]
    drift = 1e-3 * np.linspace(0, 1, 5)
    return (forward("WNN", misread, out, True, np.stack([drift, -drift])) > 0).all()


case("wnn-other-order", lambda f, s, o: write_old(f, own_block(s, o, backwards)), 5, network="WNN",
     order=",".join(backwards), suits=misleads)


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
with h5py.File(folder / "bad-both.h5", "w") as file:  # a stream of each network
    write_old(file, by_depth([stream(15, 1), stream(14, 1)], dense(64, 1, 1), 0))
with h5py.File(folder / "bad-not-keras.h5", "w") as file:
    file["x"] = np.zeros(3)

(folder / "cases.json").write_text(json.dumps({"windows": {k: w.tolist() for k, w in windows.items()}, "cases": cases}))
