"""What passes, planner, kernels and frontends ask about an op, so that they know none by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cnncc.ir.rules import Attrs, Shape


class Kind(Enum):
    """What an op is made of. Each op is of one kind."""

    INPUT = "from the caller"
    CONSTANT = "from the weights"
    LINEAR = "sums of products with weights, plus a bias: a scale and shift behind it goes into these"
    POINTWISE = "a function of each element of one tensor; it may be a post-op of another op"
    MERGE = "a function of one element of each of several tensors that fit each other"
    CONCAT = "the channels of several tensors, which may be computed in their places inside the result"
    OTHER = "none of these"


class Order(Enum):
    """In which order elements lie in memory."""

    BLOCKS = "channels in blocks"
    LOGICAL = "channels, rows, columns"
    ANY = "as they happen to lie"
    FIRST = "as those of the first argument, which may lie in any order"


Reads = Callable[[int, Attrs], Order]
"""Of an argument, by its position, and the attributes."""


@dataclass(frozen=True)
class MemoryOrder:
    """In which order an op reads its arguments and writes its result. ANY of a result is the order of the first
    argument."""

    reads: Reads
    writes: Order


BLOCKED = MemoryOrder(lambda position, attrs: Order.BLOCKS, Order.BLOCKS)
LOGICAL = MemoryOrder(lambda position, attrs: Order.LOGICAL, Order.LOGICAL)
KEPT = MemoryOrder(lambda position, attrs: Order.FIRST if position else Order.ANY, Order.ANY)


class PostOps(Enum):
    """Which post-ops an op can have: what it does to its result before it stores it (see `epilogue.py`)."""

    NONE = "none"
    ACTIVATIONS = "activations"
    ACTIVATIONS_AND_ADDS = "activations and additions"
    BOUNDS = "activations that are bounds of a result of bytes"


class Finite(Enum):
    """Where the result is finite if the arguments are. What fills up a block of channels must stay finite: a
    convolution multiplies it by zero, and infinity times zero is no number."""

    ALWAYS = "everywhere"
    AT_ZERO = "at zero, but not everywhere"
    NOT_AT_ZERO = "not even at zero"


class Memory(Enum):
    """Memory that the result needs in the best case: what `cnncc summary` counts."""

    OWN = "its own"
    PART = "none: it is its input, or a part of it"
    OVER = "none if nobody else reads the input: it is written over that"


Unchanged = Callable[[Shape, Shape, Attrs], bool]
"""Whether the result is the first input, by the shapes of both and the attributes."""
Folds = Callable[[Mapping[str, Any], Attrs], tuple[Any, Any, Any]]
"""By its weights and attributes m, s and b, float64 vectors, for which it is (x - m) s + b."""
View = Callable[[Shape, Attrs], tuple[int, int]]
"""The channels of the input, first and behind the last, whose memory the result may be, by the input's shape."""


Channels = Callable[[tuple[Shape, ...], Attrs], tuple[int, ...] | None]
"""The channels of the inputs, counted through all of them, that are those of the result; by the shapes of the inputs.
None where the result is anything else."""


def never(source: Shape, result: Shape, attrs: Attrs) -> bool:
    return False


def always(source: Shape, result: Shape, attrs: Attrs) -> bool:
    return True


def if_same_shape(source: Shape, result: Shape, attrs: Attrs) -> bool:
    """Of ops that only leave out or add values: with the same shape before and after, they did neither."""
    return source == result


def all_channels(source: Shape, attrs: Attrs) -> tuple[int, int]:
    return 0, source[1]


@dataclass(frozen=True)
class Traits:
    """The traits of an op. There are no defaults; an op says in what it differs from one of the sets below."""

    kind: Kind
    layout: MemoryOrder
    post_ops: PostOps
    finite: Finite
    memory: Memory
    in_place: bool
    """Whether an element of the result needs only the same element of each input: it may be written over one."""
    over_added: bool
    """Whether the result may be written over a tensor that a post-op adds: each element of that is read once."""
    unchanged: Unchanged
    view: View | None
    """Which part of the input's memory the result may be, None if it is computed."""
    channels: Channels | None
    """Which whole channels of its inputs the result has, None if it does more than move channels."""
    regroups: bool
    """Whether the result has the same values in the same order."""
    flat: bool
    """Whether it reads an image as the vector of its elements."""
    folds: Folds | None
    """Which scale and shift of each channel it is, that the weights of a LINEAR op before it can take in; None if it is
    none."""
    half_weights: bool
    """Whether its `weight` may be stored in half precision."""
    weight_by_input: bool = False
    """Whether the first axis of its `weight` is that of the inputs, as PyTorch's transposed convolution has it."""


COMPUTED = Traits(
    kind=Kind.OTHER,
    layout=BLOCKED,
    post_ops=PostOps.NONE,
    finite=Finite.ALWAYS,
    memory=Memory.OWN,
    in_place=False,
    over_added=True,
    unchanged=never,
    view=None,
    channels=None,
    regroups=False,
    flat=False,
    folds=None,
    half_weights=False,
)
"""An op with a result of its own, that reads and writes channels in blocks."""
