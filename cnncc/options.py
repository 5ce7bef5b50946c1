"""What a compilation depends on besides the network: one value, from the command line to the rules of kernels."""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnncc.base.errors import CnnccError, nearest
from cnncc.runtime.cpu import MOST_THREADS

DTYPES = ("float32", "float16")
"""Of the operands of convolutions."""

WEIGHTS_DTYPES = ("float32", "float16", "bfloat16")
"""Of stored weights, see `cnncc.weights.half`; the first one rounds nothing."""


def _check_count(name: str, value: Any) -> None:
    try:
        count = operator.index(value)
    except TypeError:
        raise CnnccError(f"{name} must be a whole number, got {value!r}") from None
    if count < 1:
        raise CnnccError(f"{name} must be at least 1, got {count}")


def _number(value: Any) -> float:
    """The number that a value is, NaN for others."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


@dataclass(frozen=True)
class Options:
    """How a network is compiled. CnnccError for a value that makes no sense; what a machine cannot do, it refuses
    itself (`Machine.check`)."""

    targets: tuple[str, ...] = ("host",)
    """Names of `targets/*.toml`, or `host`; of several targets, a processor takes the best that it can run."""
    batch: int = 1
    """Images of every run."""
    threads: int | None = None
    """Most threads that a run may use; None for one for each core of the target."""
    max_error: float = 1e-5
    """Share of a layer's largest output by which an algorithm with fewer operations (Winograd) may be off."""
    dtype: str = "float32"
    """Of the operands of convolutions, one of `DTYPES`; sums and values in memory are float32."""
    weights_dtype: str = "float32"
    """Type in which the weights of fc layers are stored, one of `WEIGHTS_DTYPES`."""
    tune: float | None = None
    """Seconds in which convolution kernels are measured on this machine; None if a model picks them."""
    keep_all: bool = False
    """Whether every value keeps memory of its own, so that all can be read after a run."""
    stamps: bool = False
    """Whether a run notes in its arena when each step ended, for `cnncc profile`."""

    def __post_init__(self) -> None:
        given: object = self.targets  # whatever its type says
        if isinstance(given, str):
            raise CnnccError(f"targets must be a tuple of names, got {self.targets!r}", hint=f"({self.targets!r},)")
        if not self.targets:
            raise CnnccError("no target is named")
        _check_count("batch", self.batch)
        if self.threads is not None:
            _check_count("threads", self.threads)
            if self.threads > MOST_THREADS:
                raise CnnccError(f"threads must be at most {MOST_THREADS}, got {self.threads}")
        if not 0 <= _number(self.max_error) < math.inf:
            raise CnnccError(f"max_error must be a number of at least 0, got {self.max_error}")
        if self.dtype not in DTYPES:
            raise CnnccError(f"unknown dtype {self.dtype!r}", hint=nearest(str(self.dtype), DTYPES))
        if self.weights_dtype not in WEIGHTS_DTYPES:
            hint = nearest(str(self.weights_dtype), WEIGHTS_DTYPES)
            raise CnnccError(f"unknown type of weights {self.weights_dtype!r}", hint=hint)
        if self.tune is not None and not 0 < _number(self.tune) < math.inf:
            raise CnnccError(f"tuning needs a number of seconds above 0, got {self.tune}")

    @property
    def tuned(self) -> bool:
        """Whether kernels are chosen by measuring."""
        return self.tune is not None

    def key(self) -> str:
        """A hash of all options, for what tuning stores."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


DEFAULT = Options()
"""One image on this machine, with all its cores."""


def split_targets(targets: str | Sequence[str]) -> tuple[str, ...]:
    """Names of targets: a sequence of them, or a text with commas between them."""
    return tuple(targets.split(",")) if isinstance(targets, str) else tuple(targets)
