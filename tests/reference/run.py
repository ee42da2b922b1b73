"""Computes what a case must give, from the papers alone. See README.md for the protocol.

python tests/reference/run.py CASE_DIR... [--plant FAULT]   writes CASE_DIR/expected.safetensors and expected.json
python tests/reference/run.py CASE_DIR... --plant-each      also CASE_DIR/planted/FAULT/expected.* for every fault
python tests/reference/run.py --faults KIND | CASE_DIR      lists faults that can be planted, one a line
python tests/reference/run.py --self-test                   shows that each planted fault changes a result
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import attacks
import augmentation
import batch_norm
import faults
import forward
import methods
import optimisers
import predictor_training
import predictors
import protocol
import schedules
import scores

KINDS = {
    "method": methods,
    "predictor": predictors,
    "predictor-training": predictor_training,
    "optimiser": optimisers,
    "schedule": schedules,
    "batch-norm": batch_norm,
    "attack": attacks,
    "score": scores,
    "augment": augmentation,
    "network": forward,
}


def kind_of(case):
    """The reference for a case's kind."""
    if case.get("kind") not in KINDS:
        raise protocol.Malformed(f"case.kind is {case.get('kind')!r}, not one of {', '.join(KINDS)}")
    return KINDS[case["kind"]]


def compute(case, inputs, fault=None):
    """Tensors and figures of a case; with a fault, wrong ones."""
    reference = kind_of(case)
    if fault is not None and fault not in reference.list_faults(case, inputs):
        raise protocol.Malformed(f"fault {fault!r} cannot show in this case; see --faults CASE_DIR")
    torch.set_num_threads(1)
    faults.plant(fault)
    try:
        return reference.compute(case, inputs)
    finally:
        faults.plant(None)


def list_kind_faults(kind):
    """All faults that some case of a kind can have; `method/NAME` for one method."""
    kind, _, method = kind.partition("/")
    if kind not in KINDS:
        raise protocol.Malformed(f"{kind!r} is neither a folder nor one of {', '.join(KINDS)}")
    if kind == "method":
        from self_test import list_method_faults

        return list_method_faults(method)
    known = KINDS[kind].FAULTS
    if isinstance(known, dict):
        known = known[method] if method else dict.fromkeys(fault for some in known.values() for fault in some)
    return list(known)


def list_faults(name):
    """The faults that can show in the case of a folder, or in some case of a kind."""
    if not (Path(name) / "case.json").exists():
        return list_kind_faults(name)
    case, inputs = protocol.read_case(name)
    return kind_of(case).list_faults(case, inputs)


def answer(folder, fault, each):
    """Reads a case and writes what is expected of it; with `each`, what every fault would make of it, too."""
    case, inputs = protocol.read_case(folder)
    protocol.write_expected(folder, *compute(case, inputs, fault))
    for planted in kind_of(case).list_faults(case, inputs) if each else []:
        place = Path(folder) / "planted" / planted
        place.mkdir(parents=True, exist_ok=True)
        protocol.write_expected(place, *compute(case, inputs, planted))


def main():
    """Parses the command line and does the one thing asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE_DIR")
    parser.add_argument("--plant", metavar="FAULT")
    parser.add_argument("--plant-each", action="store_true")
    parser.add_argument("--faults", metavar="KIND")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        from self_test import test_all

        return test_all()
    if arguments.faults:
        print(*list_faults(arguments.faults), sep="\n")
        return 0
    if not arguments.cases:
        parser.error("a case's folder is missing")
    for folder in arguments.cases:
        try:
            answer(folder, arguments.plant, arguments.plant_each)
        except protocol.Malformed as error:
            raise protocol.Malformed(f"{folder}: {error}") from error
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except protocol.Malformed as error:
        sys.exit(f"reference: {error}")
