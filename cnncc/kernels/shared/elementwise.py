"""What elementwise kernels of CPUs and GPUs share: their names, and scale and shift of a batch norm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.spec import Epilogue, Packed, Place
from cnncc.machines import Machine
from cnncc.ops import TABLE, traits
from cnncc.ops.traits import Finite

MOST_NAMED = 4
"""Steps of an epilogue that stand in the name of a kernel."""


def label(start: str, epilogue: Epilogue) -> str:
    """What a kernel computes, for its name: its start and the first steps of its epilogue."""
    steps = [name for name, _ in epilogue]
    more = [f"{len(steps) - MOST_NAMED}_more"] if len(steps) > MOST_NAMED else []
    return "_".join([start if start != "first" else "map", *steps[:MOST_NAMED], *more])


def finite(steps: Iterable[str]) -> bool:
    """Whether ops of one element each are finite wherever their arguments are."""
    return all(TABLE[name].traits.finite is Finite.ALWAYS for name in steps if name in TABLE)


def affine_weights(site: Place[Machine], width: int) -> tuple[Packed, Packed]:
    """Scale and shift of what the trait `folds` describes, in float64 until they are stored, with zeros up to
    `width`."""
    node = site.node
    constants = {slot: site.graph.constants[name] for slot, name in node.weights.items()}
    folds = traits(node).folds
    assert folds is not None

    def pack(values: np.ndarray) -> np.ndarray:
        return pad_channels(values.astype(np.float32), width)

    def packed(arrays: Sequence[np.ndarray], what: str) -> np.ndarray:
        mean, scale, shift = folds(dict(zip(constants, arrays, strict=True)), node.attrs)
        return pack(scale if what == "scale" else shift - mean * scale)

    first, *rest = constants.values()
    return (
        Packed(f"{node.name}.scale", first.map((width,), lambda *a: packed(a, "scale"), *rest)),
        Packed(f"{node.name}.shift", first.map((width,), lambda *a: packed(a, "shift"), *rest)),
    )
