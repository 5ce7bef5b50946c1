"""What kernels of CPUs and GPUs share about crop, pad and upsample: the same copy with other places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cnncc.ir import Node
from cnncc.ir.rules import Attrs
from cnncc.ops.quantize import stored_number

SETTINGS: Mapping[str, Callable[[Attrs], dict[str, Any]]] = {
    "crop": lambda a: {"mode": "crop", "offset": (a["top"], a["left"])},
    "pad": lambda a: {"mode": a["mode"], "offset": tuple(a["pad"][:2]), "value": a["value"]},
    "upsample": lambda a: {"mode": a["mode"], "scale": tuple(a["scale"]), "align_corners": a["align_corners"]},
}
"""Op -> the fields of a ResampleConfig that its attributes give."""


def settings(node: Node) -> dict[str, Any]:
    """The fields that a node gives; a value of padding as numbers of the node's type are stored."""
    found = SETTINGS[node.op](node.attrs)
    return {**found, "value": float(stored_number(found["value"], node.type))} if "value" in found else found


def label(node: Node, mode: str) -> str:
    """The start of the kernel's name: the op, and its mode if it has several."""
    return node.op if mode == node.op else f"{node.op}_{mode}"
