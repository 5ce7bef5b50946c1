"""What elementwise kernels of CPUs and GPUs share: their names, and scale and shift of a batch norm."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cnncc.kernels.shared.convolution import pad_channels
from cnncc.kernels.shared.spec import Epilogue, Packed, Site
from cnncc.machines import Machine
from cnncc.ops import TABLE
from cnncc.ops.traits import Finite

MOST_NAMED = 4
"""Post-ops that stand in the name of a kernel."""


def label(start: str, epilogue: Epilogue) -> str:
    """What a kernel computes, for its name: its start and the first post-ops of its epilogue."""
    names = [name for name, _ in epilogue]
    more = [f"{len(names) - MOST_NAMED}_more"] if len(names) > MOST_NAMED else []
    return "_".join([start if start != "first" else "map", *names[:MOST_NAMED], *more])


def finite(names: Iterable[str]) -> bool:
    """Whether ops of one element each are finite wherever their arguments are."""
    return all(TABLE[name].traits.finite is Finite.ALWAYS for name in names if name in TABLE)


def affine_weights(site: Site[Machine], width: int) -> tuple[Packed, Packed]:
    """Scale and shift of a bn, in float64 until they are stored, with zeros up to `width`."""
    slots = [site.constant(s) for s in ("weight", "bias", "running_mean", "running_var")]
    gamma, beta, mean, var = (s for s in slots if s is not None)
    eps = site.node.attrs["eps"]

    def scale(g: np.ndarray, v: np.ndarray) -> np.ndarray:
        return g.astype(np.float64) / np.sqrt(v.astype(np.float64) + eps)

    def pack(values: np.ndarray) -> np.ndarray:
        return pad_channels(values.astype(np.float32), width)

    shift = beta.map((width,), lambda b, g, m, v: pack(b - m * scale(g, v)), gamma, mean, var)
    return (
        Packed(f"{site.node.name}.scale", gamma.map((width,), lambda g, v: pack(scale(g, v)), var)),
        Packed(f"{site.node.name}.shift", shift),
    )
