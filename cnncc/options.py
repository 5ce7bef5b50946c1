"""What a compilation depends on besides the network: one value, from the command line to the rules of kernels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from cnncc.base.errors import CnnccError, nearest
from cnncc.runtime.cpu import MOST_THREADS

DTYPES = ("float32", "float16", "bfloat16", "tf32", "tf32x3")
"""Of the operands of convolutions; with those of 16 bits of most values too."""

INT8 = "int8"
"""What stands beside those where a network is named: it is computed on bytes. `Options` do not say it, the graph does:
its ops and the types of its values."""

HALF_DTYPES = ("float16", "bfloat16")
"""Those of 16 bits."""

WEIGHTS_DTYPES = ("float32", *HALF_DTYPES)
"""Of stored weights, see `cnncc.weights.half`; the first one rounds nothing."""


MOST_IMAGES = 1 << 16
"""Of a run: modules count chunks of work of all images in 32 bits."""


def _count(name: str, value: Any) -> int:
    """The whole number of at least 1 that a value is; CnnccError for others, True among them."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise CnnccError(f"{name} must be a whole number, got {value!r}")
    count = int(value)
    if count < 1:
        raise CnnccError(f"{name} must be at least 1, got {count}")
    return count


def _number(value: Any) -> float:
    """The number that a value is; NaN for others, texts and True among them."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _names(targets: Any) -> tuple[str, ...]:
    """Names of targets; CnnccError for anything that is no sequence of texts."""
    if isinstance(targets, str | bytes) or not isinstance(targets, Sequence):
        hint = f"({targets!r},)" if isinstance(targets, str) else ""
        raise CnnccError(f"targets must be a tuple of names, got {targets!r}", hint=hint)
    for name in targets:
        if not isinstance(name, str):
            raise CnnccError(f"the name of a target must be a text, got {name!r}")
    if not targets:
        raise CnnccError("no target is named")
    return tuple(targets)


@dataclass(frozen=True)
class Options:
    """How a network is compiled. CnnccError for a value that makes no sense; what a machine cannot do, it refuses
    itself (`Machine.check`)."""

    targets: tuple[str, ...] = ("host",)
    """Names of `targets/*.toml`, or `host`; of several targets, a processor takes the best that it can run."""
    batch: int = 1
    """Most images of a run."""
    threads: int | None = None
    """Most threads that a run may use; None for one for each core of the target."""
    max_error: float = 1e-5
    """Share of a layer's largest output by which an algorithm with fewer operations (Winograd) may be off."""
    dtype: str = "float32"
    """Of the operands of convolutions, one of `DTYPES`; sums are float32. With float16, which GPUs have, and bfloat16
    the values between most layers are of that type too."""
    weights_dtype: str = "float32"
    """Type in which the weights of convolutions and fc layers are stored, one of `WEIGHTS_DTYPES`. With a dtype of
    16 bits it is that."""
    tune: float | None = None
    """Seconds in which convolution kernels are measured on this machine; None if a model picks them."""
    keep_all: bool = False
    """Whether every value keeps memory of its own, so that all can be read after a run."""
    stamps: bool = False
    """Whether a run notes in its arena when each step ended, for `cnncc profile`."""

    def __post_init__(self) -> None:
        self._set("targets", _names(self.targets))
        self._set("batch", _count("batch", self.batch))
        if self.batch > MOST_IMAGES:
            raise CnnccError(f"batch must be at most {MOST_IMAGES}, got {self.batch}")
        if self.threads is not None:
            self._set("threads", _count("threads", self.threads))
            if self.threads > MOST_THREADS:
                raise CnnccError(f"threads must be at most {MOST_THREADS}, got {self.threads}")
        if not 0 <= _number(self.max_error) < math.inf:
            raise CnnccError(f"max_error must be a number of at least 0, got {self.max_error!r}")
        self._set("max_error", _number(self.max_error))
        if self.dtype not in DTYPES:
            scales = "a network is on bytes by its weights' file: see cnncc.quantize"
            hint = scales if self.dtype == INT8 else nearest(str(self.dtype), DTYPES)
            raise CnnccError(f"unknown dtype {self.dtype!r}", hint=hint)
        if self.weights_dtype not in WEIGHTS_DTYPES:
            hint = nearest(str(self.weights_dtype), WEIGHTS_DTYPES)
            raise CnnccError(f"unknown type of weights {self.weights_dtype!r}", hint=hint)
        self._set_weights()
        if self.tune is not None:
            if not 0 < _number(self.tune) < math.inf:
                raise CnnccError(f"tuning needs a number of seconds above 0, got {self.tune!r}")
            self._set("tune", _number(self.tune))

    def _set_weights(self) -> None:
        """With a dtype of 16 bits weights are stored so. CnnccError for another type of them."""
        if self.dtype not in HALF_DTYPES:
            return
        if self.weights_dtype not in ("float32", self.dtype):
            hint = "leave the type of weights out"
            raise CnnccError(f"with dtype {self.dtype} weights are {self.dtype}, not {self.weights_dtype}", hint=hint)
        self._set("weights_dtype", self.dtype)

    def _set(self, name: str, value: Any) -> None:
        """A number of NumPy becomes a plain one, a list a tuple: equal options are equal, and have one key."""
        object.__setattr__(self, name, value)

    @property
    def tuned(self) -> bool:
        """Whether kernels are chosen by measuring."""
        return self.tune is not None

    def key(self) -> str:
        """A hash of all options, for what tuning stores."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


MANY_IMAGES = 64
"""Most images of a call of a model that was compiled into this process for a processor, if nobody says how many. More
cost nothing there: a run takes the memory and the time of the images that it has."""

DEFAULT = Options()
"""One image on this machine, with all its cores."""


def split_targets(targets: str | Sequence[str]) -> tuple[str, ...]:
    """Names of targets: a sequence of them, or a text with commas between them. CnnccError for anything else."""
    return _names(targets.split(",") if isinstance(targets, str) else targets)
