"""How a case is handed in and its answer handed back: two JSON files and two safetensors files in one folder."""

import json
import math
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file


class Malformed(Exception):
    """A case that cannot be computed, with the name of the field or tensor that is wrong."""


class Settings:
    """A JSON table whose every key must be asked for: `finish` refuses those that nobody knows."""

    def __init__(self, table, where):
        self.table, self.where, self.asked = dict(table), where, set()

    def get(self, *spellings, default=None, required=False):
        """The value under the first of `spellings` that is there."""
        self.asked.update(spellings)
        for key in spellings:
            if key in self.table:
                return self.table[key]
        if required:
            raise Malformed(f"{self.where}: `{spellings[0]}` is missing")
        return default

    def one_of(self, key, choices, default=None):
        """The value under `key`, which must be one of `choices`."""
        value = self.get(key, default=default, required=default is None)
        if value not in choices:
            raise Malformed(f"{self.where}.{key} is {value!r}, not one of {', '.join(choices)}")
        return value

    def finish(self):
        """Refuses keys that no reference asked for: a setting that is silently ignored compares nothing."""
        unknown = sorted(set(self.table) - self.asked)
        if unknown:
            raise Malformed(f"{self.where}: no reference knows `{unknown[0]}`")


class Inputs:
    """The tensors of a case by name."""

    def __init__(self, tensors, metadata=None):
        self.tensors, self.metadata = tensors, metadata or {}

    def __contains__(self, name):
        return name in self.tensors

    def __getitem__(self, name):
        if name not in self.tensors:
            raise Malformed(f"inputs.safetensors: tensor `{name}` is missing")
        return self.tensors[name]

    def under(self, prefix):
        """The tensors whose names begin with `prefix`, without it."""
        return {name[len(prefix) :]: tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


def read_case(folder):
    """`case.json` as a table and `inputs.safetensors` as `Inputs`."""
    case = json.loads((Path(folder) / "case.json").read_text())
    path = Path(folder) / "inputs.safetensors"
    if not path.exists():
        return case, Inputs({})
    with safe_open(str(path), framework="pt") as file:
        return case, Inputs({name: file.get_tensor(name) for name in file.keys()}, file.metadata())


def write_inputs(folder, case, tensors, metadata=None):
    """The asking side, for the self-test: what the harness writes."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "case.json").write_text(json.dumps(case, indent=1))
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        str(Path(folder) / "inputs.safetensors"),
        metadata or None,
    )


def write_expected(folder, tensors, figures):
    """`expected.safetensors` (always, if only to be empty) and `expected.json`; not-a-number is written as null."""
    save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()},
        str(Path(folder) / "expected.safetensors"),
    )
    (Path(folder) / "expected.json").write_text(json.dumps(_plain(figures), indent=1, allow_nan=False))


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
