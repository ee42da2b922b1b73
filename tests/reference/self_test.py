"""Draws a small case of each kind and shows that every fault that can be planted in it changes its result."""

import math
import tempfile
from pathlib import Path

import torch

import run
from examples import list_cases, list_method_cases
from protocol import read_case, write_expected, write_inputs

TOLERANCE = 1e-6


def list_method_faults(method):
    """All faults of a method (of all methods for an empty name), as the examples can show them."""
    known = {}
    for _, (case, inputs) in list_method_cases():
        if method in ("", *case["method"]):
            known |= dict.fromkeys(run.kind_of(case).list_faults(case, inputs))
    return list(known)


def distance(right, wrong, with_figures=True):
    """Largest difference of any number in two answers; infinite where they have other shapes or are no numbers."""
    (tensors, figures), (others, other_figures) = right, wrong
    if {name: tensor.shape for name, tensor in tensors.items()} != {
        name: tensor.shape for name, tensor in others.items()
    }:
        return math.inf
    gaps = [(tensors[name].double() - others[name].double()).abs().max().item() for name in tensors]
    if with_figures:
        numbers, other_numbers = list(_numbers(figures)), list(_numbers(other_figures))
        if len(numbers) != len(other_numbers):
            return math.inf
        gaps += [abs(one - other) for one, other in zip(numbers, other_numbers)]
    return max((math.inf if math.isnan(gap) else gap for gap in gaps), default=0.0)


def _numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif value is not None:
        yield float(value)


def test_all():
    """Prints one line a fault; 1 if some fault changed nothing, or if a case computed twice differs from itself."""
    missed, planted = [], 0
    for name, case, inputs in list_cases():
        right = run.compute(*_through_files(case, inputs))
        if distance(right, run.compute(case, inputs)) != 0:
            missed.append(f"{name} is not repeatable")
        if any(not torch.isfinite(tensor).all() for tensor in right[0].values() if tensor.is_floating_point()):
            missed.append(f"{name} is not finite")
        for fault in run.kind_of(case).list_faults(case, inputs):
            gap = distance(right, run.compute(case, inputs, fault), with_figures=case["kind"] != "method")
            planted += 1
            print(f"{name:36} {fault:34} {gap:.1e}{'' if gap > TOLERANCE else '  NOT SEEN'}")
            if gap <= TOLERANCE:
                missed.append(f"{name}: {fault} changes nothing")
    print(f"{planted} faults planted, {len(missed)} complaints", *missed, sep="\n  ")
    return 1 if missed else 0


def _through_files(case, inputs):
    """The case as it comes back from a folder, so that the protocol is tried, too."""
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(folder, case, inputs.tensors, inputs.metadata)
        case, inputs = read_case(Path(folder))
        write_expected(folder, *run.compute(case, inputs))
        return case, inputs
