"""The operations that formulas of ops are made of: kernels write them as vector code, NumPy computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Value = Any
"""A vector of a kernel, or an array. `+ - * /` and the comparisons `< <= > >= ==` are those of Python."""


class Vectors(Protocol):
    """What a formula may ask for besides operators. Numbers become vectors by `number`."""

    def number(self, value: float) -> Value:
        """A vector of one number."""

    def edge(self, value: float) -> Value:
        """A number at which a function jumps, in float32 whatever the precision: a value on it lies on one side for
        all."""

    def let(self, value: Value) -> Value:
        """The value, under a name: a value that is used twice is computed once."""

    def max(self, a: Value, b: Value) -> Value:
        """The larger one; b if either is no number, so the data comes second."""

    def min(self, a: Value, b: Value) -> Value:
        """The smaller one; b if either is no number."""

    def clamp(self, x: Value, low: float, high: float) -> Value:
        """x between two numbers."""

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        """`yes` where the condition holds, else `no`."""

    def is_nan(self, x: Value) -> Value:
        """Whether it is no number."""

    def polynomial(self, x: Value, coefficients: tuple[float, ...]) -> Value:
        """Of these coefficients, that of x^0 first."""

    def sqrt(self, x: Value) -> Value: ...
    def floor(self, x: Value) -> Value: ...
    def ceil(self, x: Value) -> Value: ...
    def trunc(self, x: Value) -> Value: ...
    def rint(self, x: Value) -> Value: ...
    def exp(self, x: Value) -> Value: ...
    def log(self, x: Value) -> Value:
        """ln x of x > 0, and not below the normal range."""

    def call(self, name: str, x: Value, *numbers: float) -> Value:
        """A function that kernels have a routine for, one of FUNCTIONS."""

    def pair(self, name: str, a: Value, b: Value) -> Value:
        """A function of two vectors that kernels have a routine for, one of PAIRS."""


FUNCTIONS: Mapping[str, Callable[..., npt.NDArray[Any]]] = {
    **{"log": np.log, "sign": np.sign, "sin": np.sin, "cos": np.cos, "tan": np.tan},
    **{"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh},
    **{"asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh},
    # Of a scalar 0.5 NumPy takes the root.
    "power": lambda x, exponent: np.power(x, np.full_like(x, exponent)),
}
"""Functions of one vector by name, as NumPy has them; the kernels' are `cnncc.kernels.shared.functions.FUNCTIONS`."""
PAIRS: Mapping[str, Callable[..., npt.NDArray[Any]]] = {"pow": np.power, "mod": np.mod, "fmod": np.fmod}
"""Functions of two vectors; the kernels' are `cnncc.kernels.shared.pairs.PAIRS`."""


class NumpyVectors:
    """Formulas computed in the dtype of their argument."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._kind: Any = np.dtype(dtype).type

    def number(self, value: float) -> Value:
        return self._kind(value)

    def edge(self, value: float) -> Value:
        return self._kind(np.float32(value))

    def let(self, value: Value) -> Value:
        return value

    def max(self, a: Value, b: Value) -> Value:
        return np.where(a > b, a, b)

    def min(self, a: Value, b: Value) -> Value:
        return np.where(a < b, a, b)

    def clamp(self, x: Value, low: float, high: float) -> Value:
        return self.min(self.number(high), self.max(self.number(low), x))

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        return np.where(condition, yes, no)

    def is_nan(self, x: Value) -> Value:
        return np.isnan(x)

    def polynomial(self, x: Value, coefficients: tuple[float, ...]) -> Value:
        total = self.number(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            total = total * x + self.number(c)
        return total

    def sqrt(self, x: Value) -> Value:
        return np.sqrt(x)

    def floor(self, x: Value) -> Value:
        return np.floor(x)

    def ceil(self, x: Value) -> Value:
        return np.ceil(x)

    def trunc(self, x: Value) -> Value:
        return np.trunc(x)

    def rint(self, x: Value) -> Value:
        return np.rint(x)

    def exp(self, x: Value) -> Value:
        return np.exp(x)

    def log(self, x: Value) -> Value:
        return np.log(x)

    def call(self, name: str, x: Value, *numbers: float) -> Value:
        return FUNCTIONS[name](x, *numbers)

    def pair(self, name: str, a: Value, b: Value) -> Value:
        return PAIRS[name](a, b)
