"""A pointwise op is one record: `Pointwise` says everything about it, for all parts of the compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cnncc.ops.byte_arithmetic import byte_bounds
from cnncc.ops.domains import Domain, Inputs, Tried, Values
from cnncc.ops.forms import Form, Syntax, Word, numbers
from cnncc.ops.initial import activated
from cnncc.ops.onnx import Onnx
from cnncc.ops.table import Array, Arrays, Attrs, Op, Types, Weights, no_macs, no_weights, one_position, same_shape
from cnncc.ops.traits import COMPUTED, Finite, Kind, Memory
from cnncc.ops.type_rules import floats, floats_or_bytes
from cnncc.ops.vectors import NumpyVectors, Value

Formula = Callable[..., Value]
"""(vectors, x, **numbers) -> the value; `vectors` is a `cnncc.ops.vectors.Vectors`."""
Function = Callable[[Array, Attrs], Array]
Bounds = Callable[[Attrs], tuple[float, float]]


@dataclass(frozen=True)
class Number:
    """A number that an op takes."""

    default: float
    tried: Domain


@dataclass(frozen=True)
class Pointwise:
    """A function of each element. It may stand alone, or be a post-op of another op."""

    name: str
    formula: Formula
    """How kernels compute it."""
    tolerance: float
    """See `Op.tolerance`."""
    finite: Finite
    onnx: Onnx | None
    """The same op in ONNX. Without one, `cnncc/frontends/onnx` needs a rule for writing it."""
    values: Values
    """Those that it is tried with."""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    reference: Function | None = None
    """In NumPy; without one it is the formula. One is needed where the formula is an approximation."""
    first: str = ""
    """The number that follows the op's word at once, where it has to be given."""
    optional: str = ""
    """The number that may follow the op's word at once."""
    example: str = ""
    """One use of it in a text; the word alone if there is none."""
    synonyms: tuple[str, ...] = ()
    bounds: Bounds | None = None
    """Of a function that only bounds its argument: by its numbers, the least and the largest result. It takes bytes
    too."""

    def evaluate(self, x: Array, attrs: Attrs) -> Array:
        """The value in NumPy, in the dtype of x."""
        if self.reference is not None:
            return self.reference(x, attrs)
        with np.errstate(all="ignore"):
            return np.asarray(self.formula(NumpyVectors(x.dtype), x, **attrs), x.dtype)

    @property
    def form(self) -> Form:
        """How it is written: its word, and its numbers behind their names."""
        words: Mapping[str, Word] = numbers(*(n for n in self.numbers if n != self.first))
        return Form(
            self.name,
            self.example or self.name,
            ((self.first, Syntax.NUMBER),) if self.first else (),
            (self.optional, Syntax.NUMBER) if self.optional else None,
            words,
            chains=True,
            leads=True,
            synonyms=self.synonyms,
        )

    def op(self) -> Op:
        """The entry of the op table."""

        def reference(xs: Arrays, weights: Weights, attrs: Attrs) -> Array:
            return self.evaluate(xs[0], attrs)

        def exact(xs: Arrays, weights: Weights, attrs: Attrs, types: Types) -> Array:
            assert self.bounds is not None, self.name
            if types[0].quantization is None:
                return reference(xs, weights, attrs)
            to = byte_bounds(types[0], *self.bounds(attrs))
            return np.clip(xs[0], to.low, to.high)

        return Op(
            name=self.name,
            arity=(1, 1),
            attributes={name: number.default for name, number in self.numbers.items()},
            weights=no_weights,
            shape=same_shape,
            macs=no_macs,
            window=one_position,
            reference=reference,
            tolerance=self.tolerance,
            traits=replace(COMPUTED, kind=Kind.POINTWISE, finite=self.finite, memory=Memory.OVER, in_place=True),
            forms=(self.form,),
            tried=Tried(Inputs.VALUE, {name: number.tried for name, number in self.numbers.items()}, self.values),
            spread=activated,
            onnx=self.onnx,
            types=floats if self.bounds is None else floats_or_bytes,
            exact=None if self.bounds is None else exact,
        )


RECORDS: dict[str, Pointwise] = {}
"""Every pointwise op by name: what an epilogue may hold besides `add`."""
BOUNDED: dict[str, Bounds] = {}
"""Those that only bound their argument: what an epilogue of a layer on bytes may hold."""


def pointwise_ops(*records: Pointwise) -> tuple[Op, ...]:
    """The ops of a file of records, which from then on may be post-ops."""
    RECORDS.update((record.name, record) for record in records)
    BOUNDED.update((record.name, record.bounds) for record in records if record.bounds is not None)
    return tuple(record.op() for record in records)
