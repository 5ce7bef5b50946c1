"""What an op is. One frozen dataclass: a forgotten rule is a TypeError at import, or a test asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc.ir.rules import Attrs, Shape, ShapeError
from cnncc.ir.types import TensorType
from cnncc.ops.domains import Tried
from cnncc.ops.forms import Form
from cnncc.ops.initial import Initial, SpreadRule, kept
from cnncc.ops.onnx import Onnx
from cnncc.ops.traits import Traits
from cnncc.ops.type_rules import ElementRule, TypeRule, Types, float32_only, no_elements

__all__ = [
    "NOT_TRAINED",
    "REQUIRED",
    "STATISTICS",
    "Array",
    "Arrays",
    "Attrs",
    "ExactRule",
    "Op",
    "Shape",
    "ShapeError",
    "Shapes",
    "Types",
    "Weights",
    "Window",
]

Shapes = tuple[Shape, ...]
Array = npt.NDArray[np.floating[Any]]
Arrays = tuple[Array, ...]
Weights = Mapping[str, Array]
ExactRule = Callable[[Arrays, Weights, Attrs, Types], npt.NDArray[Any]]
"""The values of an op by those of its inputs, its weights and attributes, and by types: of the inputs, then of the
result."""
Window = tuple[tuple[int, int], tuple[Fraction | int, Fraction | int]]


class Missing(Enum):
    """The default of an attribute that has none."""

    REQUIRED = "required"


REQUIRED = Missing.REQUIRED


@dataclass(frozen=True)
class Op:
    """One operation of the language.

    All rules take the logical shapes of the inputs (batch first) and the complete attributes. The inputs are the
    op's own, followed by one per `add` of the epilogue (see `epilogue.py`).
    """

    name: str
    arity: tuple[int, int | None]
    """Fewest and most inputs, without those of the epilogue; None means any number."""
    attributes: Attrs
    """Every attribute with its default, or REQUIRED; a node may have no others."""
    weights: Callable[[Shapes, Attrs], Mapping[str, Shape]]
    """Slots of constant tensors and their shapes, in the order they are stored."""
    shape: Callable[[Shapes, Attrs], Shape]
    """Result shape, or ShapeError."""
    macs: Callable[[Shapes, Shape, Attrs], int]
    """Multiply-adds of the whole batch. Convolutions, transposed convolutions and fc only; 0 elsewhere."""
    window: Callable[[Shapes, Attrs], Window]
    """((span_h, span_w), (stride_h, stride_w)) on the input, for receptive fields; ((1, 1), (1, 1)) for pointwise
    ops. What enlarges the image has a stride below 1, as a Fraction."""
    reference: Callable[[Arrays, Weights, Attrs], Array]
    """NumPy result in the dtype of the inputs (float64 capable), whatever the dtype of the weights."""
    tolerance: float
    """Largest error of a float32 kernel allowed against a float64 reference of the same inputs, as a share of the
    largest output. 0 where nothing is computed: values are only moved."""
    traits: Traits
    """What passes, planner and kernels ask about it."""
    forms: tuple[Form, ...]
    """How it is written. None of what only a pass adds."""
    tried: Tried
    """Which attributes and inputs tests try it with."""
    initial: Mapping[str, Initial] = field(default_factory=dict)
    """Initial values of its constants, for each slot that `weights` may name."""
    spread: SpreadRule = kept
    """How large its results are, by how large its inputs are."""
    onnx: Onnx | None = None
    """The same op in ONNX. Without one, `cnncc/frontends/onnx` needs a rule for writing it."""
    types: TypeRule = float32_only
    """Element and quantization of the result, by those of the inputs."""
    elements: ElementRule = no_elements
    """Elements of the constants that are not float32."""
    exact: ExactRule | None = None
    """NumPy result where an input or the result is not float32; without one, `reference` works for any numbers.
    Integers are arrays of their element's dtype."""

    def type(self, types: Types, attrs: Attrs) -> TensorType:
        """The type of the result, in plain layout. ShapeError for inputs that the op does not take."""
        shape = self.shape(tuple(t.shape for t in types), attrs)
        return self.types(types, attrs, shape)


STATISTICS = frozenset({"running_mean", "running_var"})
"""Slots that depend on the values that their op reads."""
NOT_TRAINED = STATISTICS | {"weight_scale", "table"}
"""Slots that are no parameters: summary counts parameters without them."""


def no_weights(shapes: Shapes, attrs: Attrs) -> Mapping[str, Shape]:
    """The `weights` rule of an op that has none."""
    return {}


def no_macs(shapes: Shapes, result: Shape, attrs: Attrs) -> int:
    """The `macs` rule of an op that is not counted."""
    return 0


def one_position(shapes: Shapes, attrs: Attrs) -> Window:
    """The `window` rule of an op that looks at one position only."""
    return (1, 1), (1, 1)


def same_shape(shapes: Shapes, attrs: Attrs) -> Shape:
    """The `shape` rule of an op that keeps the shape of its first input."""
    return shapes[0]
