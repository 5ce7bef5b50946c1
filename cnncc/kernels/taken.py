"""Which ops a machine's kernels compute on which types of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from cnncc.base.elements import FLOAT32, Element
from cnncc.machines import Machine

RULES = {"elf": "cnncc.kernels.cpu.rules", "wasm": "cnncc.kernels.cpu.rules", "cuda": "cnncc.kernels.gpu.rules"}
"""Where the rules of a format's kernels are; imported when they are asked."""


def takes(machine: Machine, op: str, element: Element) -> bool:
    """Whether the op has kernels of which all values, or those that may be, are of the type."""
    taken: Mapping[str, frozenset[Element]] = import_module(RULES[machine.format]).TAKES
    return element in taken.get(op, {FLOAT32})
