"""Arrays on their way into and out of a model: NumPy or whatever else speaks DLPack, checked, never converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from cnncc.base.elements import ELEMENTS
from cnncc.base.errors import CnnccError
from cnncc.runtime.declared import Declared
from cnncc.runtime.extents import Extent, factor, shape_at

CPU_DEVICES = (1, 3, 11, 13)
"""Device types of dlpack.h whose memory the CPU can read: CPU, and pinned or managed memory of CUDA and ROCm."""


class InputError(CnnccError, ValueError):
    """An array that a model cannot take; also a ValueError."""


@dataclass(frozen=True)
class Port:
    """An input or output of a model."""

    name: str
    """Its name in the network."""
    shape: tuple[Any, ...]
    """(batch, c, h, w), or (batch, k) for vectors: of the most images that a call takes. Of a model for a range of
    sizes, a number that depends on the size is a text, an expression of it: `(64, 3, 'h', 'w')`."""
    declared: Declared | None = None
    """The type and shape that the network's ONNX file declares, if the model was compiled from one in this process."""
    dtype: str = "float32"
    """The element type: float32, uint8, int8, int32, float16 or bfloat16."""

    @classmethod
    def described(cls, about: Mapping[str, Any]) -> Port:
        """The port that one of `inputs` or `outputs` of a module's description is."""
        return cls(about["name"], tuple(map(Extent.of, about["shape"])), dtype=about.get("dtype", "float32"))

    def at(self, sizes: Mapping[str, int]) -> Port:
        """The port for sizes by name, where its shape depends on them."""
        declared = None if self.declared is None else self.declared.at(sizes)
        return replace(self, shape=shape_at(self.shape, sizes), declared=declared)

    @property
    def numpy(self) -> np.dtype[Any]:
        """The type of its arrays: that of its elements, and uint16, their bits, for bfloat16."""
        return ELEMENTS[self.dtype].dtype

    @property
    def differs(self) -> bool:
        """Whether the file declares another type or shape than the module's."""
        declared = self.declared
        return declared is not None and (declared.dtype, declared.shape_for(self.shape[0])) != (self.dtype, self.shape)

    @property
    def shapes(self) -> str:
        """The shapes that a call takes, as `1x3x224x224` or `1..8x3x224x224`."""
        return _for_some(self.shape)

    def __str__(self) -> str:
        ours = f"{self.name}: {self.dtype} {self.shapes}"
        return f"{ours} or {self.declared}" if self.differs else ours


@dataclass(frozen=True)
class PortSize:
    """Inputs and outputs of a model for one size of its inputs, and the memory of a run with these."""

    inputs: tuple[Port, ...]
    """One `Port` for each array that a call takes, in order."""
    outputs: tuple[Port, ...]
    """One `Port` for each result, in order."""
    arena_bytes: int
    """Of a run of the most images."""
    arena_bytes_per_image: int
    """That each image beyond the first adds."""
    told: tuple[int, ...] = ()
    """What the functions of the module are told of it: nothing where there is only one, its number among several, the
    sizes themselves where these are of a range."""

    @classmethod
    def described(cls, about: Mapping[str, Any], told: tuple[int, ...] = ()) -> PortSize:
        """The size that one of `sizes` of a module's description is, or the description itself."""
        inputs, outputs = (tuple(map(Port.described, about[ports])) for ports in ("inputs", "outputs"))
        memory = about["memory"]
        return cls(inputs, outputs, int(memory["arena_bytes"]), int(memory["arena_bytes_per_image"]), told)

    def declare(self, inputs: Mapping[str, Declared], outputs: Sequence[Declared | None]) -> PortSize:
        """The size with its ports declared as the network's file says."""
        taken = tuple(replace(port, declared=inputs.get(port.name)) for port in self.inputs)
        given = tuple(replace(port, declared=d) for port, d in zip(self.outputs, outputs, strict=True))
        return replace(self, inputs=taken, outputs=given)

    def takes(self, arrays: Sequence[np.ndarray]) -> bool:
        """Whether arrays, one for each input, have the shapes of the inputs, or those that the file declares."""
        return all(map(_has_shape, self.inputs, arrays))

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"


def _has_shape(port: Port, array: np.ndarray) -> bool:
    if port.declared is not None and port.declared.count_in(array) is not None:
        return True
    return array.ndim > 0 and array.shape[1:] == port.shape[1:]


def size_for(name: str, sizes: Sequence[PortSize], given: Sequence[Any]) -> int:
    """The number of the size that arrays have. InputError if there are several and none fits; of a wrong number of
    arrays `check_inputs` tells."""
    if len(sizes) == 1 or len(given) != len(sizes[0].inputs):
        return 0
    inputs = sizes[0].inputs
    arrays = [as_numpy(f"input {port.name!r}", value) for port, value in zip(inputs, given, strict=True)]
    found = next((i for i, size in enumerate(sizes) if size.takes(arrays)), None)
    if found is None:
        hint = f"it takes {'; or '.join(', '.join(map(str, size.inputs)) for size in sizes)}"
        shapes = ", ".join(text(array.shape) for array in arrays)
        raise InputError(f"{name} was not compiled for arrays of {shapes}", hint=hint)
    return found


def _for_some(shape: Sequence[int]) -> str:
    """A shape of the most images, for 1 to so many."""
    return text(("1.." * (shape[0] > 1) + str(shape[0]), *shape[1:]))


def text(shape: Sequence[int | str]) -> str:
    """`1x3x224x224`, or `1 x 3 x h x (w + 1)`."""
    between = " x " if any(isinstance(d, Extent) for d in shape) else "x"
    return between.join(factor(d.expression) if isinstance(d, Extent) else str(d) for d in shape) or "a scalar"


def as_numpy(what: str, value: Any) -> np.ndarray:
    """A NumPy array of the same memory. InputError if `value` is no array and has no DLPack data in the CPU's
    memory."""
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if not hasattr(value, "__dlpack__"):
        raise InputError(
            f"{what} must be a NumPy array or an object with __dlpack__, got {type(value).__name__}",
            hint="np.asarray(..., np.float32) makes an array of lists and numbers",
        )
    try:
        device = int(value.__dlpack_device__()[0])
        array = np.from_dlpack(value) if device in CPU_DEVICES else None
    except (BufferError, RuntimeError, TypeError, ValueError) as error:  # what the exporters of others raise
        raise InputError(f"{what}: {type(value).__module__}.{type(value).__name__}: {error}") from error
    if array is None:
        raise InputError(f"{what} is not in the CPU's memory (DLPack device type {device})", hint="copy it there first")
    return array


def in_order(name: str, ports: Sequence[Port], given: Mapping[str, Any]) -> list[Any]:
    """The arrays of a dictionary in the order of the inputs or outputs. InputError for a missing or unknown name."""
    names = [port.name for port in ports]
    if unknown := [key for key in given if key not in names]:
        raise InputError(f"{name} has no {unknown[0]!r}", hint=f"it has {', '.join(map(repr, names))}")
    if missing := [key for key in names if key not in given]:
        raise InputError(f"{name}: {missing[0]!r} is missing", hint=f"given by name: {', '.join(map(repr, names))}")
    return [given[key] for key in names]


def check_inputs(name: str, ports: Sequence[Port], given: Sequence[Any], most: int | None = None) -> list[np.ndarray]:
    """One array for each input, of its type, all of as many images: at least one and at most `most`, if that is given.
    InputError for arrays that do not fit."""
    if len(given) != len(ports):
        wanted = "; ".join(map(str, ports))
        plural = "" if len(ports) == 1 else "s"
        raise InputError(f"{name} takes {len(ports)} array{plural} ({wanted}), got {len(given)}")
    images = "N" if most is None else ""
    arrays = [_checked(f"input {p.name!r}", p, value, images) for p, value in zip(ports, given, strict=True)]
    if len(arrays) > 1:
        arrays = _for_all(ports, arrays)
    counts = [len(array) for array in arrays]
    if len(set(counts)) > 1:
        raise InputError(f"{name}: the inputs hold {', '.join(map(str, counts))} images, not one number of them")
    if most is not None and not 1 <= counts[0] <= most:
        takes = f"1 to {most} images" if most > 1 else "1 image"
        hint = "run_many takes any number of images" if counts[0] else ""
        raise InputError(f"a call of {name} takes {takes}, got {counts[0]}", hint=hint)
    return arrays


def _for_all(ports: Sequence[Port], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arrays, with an input that has no batch in its declared shape repeated for all images."""
    most = max((len(a) for a in arrays), default=1)
    shared = [
        p.declared is not None and not p.declared.batched and len(a) == 1 for p, a in zip(ports, arrays, strict=True)
    ]
    return [np.repeat(a, most, axis=0) if s else a for a, s in zip(arrays, shared, strict=True)]


def check_outputs(
    name: str, ports: Sequence[Port], out: Any, inputs: Sequence[np.ndarray], count: int
) -> list[np.ndarray]:
    """The caller's arrays for `count` results, one for each output. InputError unless they are writable, in C order,
    and share no memory with inputs or with each other."""
    given = list(out) if isinstance(out, tuple | list) else [out]
    if len(given) != len(ports):
        raise InputError(f"{name} has {len(ports)} outputs ({'; '.join(map(str, ports))}), out has {len(given)}")
    arrays = []
    for port, value in zip(ports, given, strict=True):
        what = f"out for {port.name!r}"
        array = _checked(what, Port(port.name, port.shape, dtype=port.dtype), value, str(count))
        if len(array) != count:
            raise InputError(f"{what} must be {text((count, *port.shape[1:]))}, got {text(array.shape)}")
        if not (array.flags.writeable and array.flags.c_contiguous and array.flags.aligned):
            hint = f"np.empty(shape, np.{port.numpy})"
            raise InputError(f"{what} must be writable and contiguous in C order", hint=hint)
        arrays.append(array)
    if any(np.may_share_memory(a, b) for a, b in [*combinations(arrays, 2), *((a, b) for a in arrays for b in inputs)]):
        raise InputError(f"{name}: out overlaps an input or another output", hint="results need memory of their own")
    return arrays


def _wrong_type(what: str, port: Port, array: np.ndarray) -> InputError:
    kinds = port.dtype if port.declared is None or not port.differs else f"{port.dtype} or {port.declared.dtype}"
    if port.dtype != port.numpy.name:
        hint = "its arrays hold the bits of the numbers"
        return InputError(f"{what} must be {kinds}, as {port.numpy}, got {array.dtype}", hint=hint)
    hint = f"convert it with array.astype('{port.dtype}')"
    return InputError(f"{what} must be {kinds}, got {array.dtype}", hint=hint)


def _checked(what: str, port: Port, value: Any, images: str) -> np.ndarray:
    """The array of one input or output. How many images it may have is not checked; an error says it, by `images` or as
    the port does."""
    array = as_numpy(what, value)
    if port.declared is not None:
        array = port.declared.to_ours(array, port.shape[1:], port.numpy)
    if array.dtype != port.numpy:
        raise _wrong_type(what, port, array)
    if not array.ndim or array.shape[1:] != port.shape[1:]:
        hint = "an array has one axis more: that of the images" if array.shape == port.shape[1:] else ""
        expected = text((images, *port.shape[1:])) if images else port.shapes
        if port.declared is not None and port.differs:
            theirs = port.declared.shape_for(port.shape[0])
            expected += f" or, as in the file, {_for_some(theirs) if port.declared.batched else text(theirs)}"
        raise InputError(f"{what} must be {expected}, got {text(array.shape)}", hint=hint)
    return array
