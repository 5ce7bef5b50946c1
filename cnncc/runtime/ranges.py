"""Models for a range of sizes: which size arrays have, and what the inputs and outputs are then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from cnncc.runtime import extents
from cnncc.runtime.arrays import InputError, Port, PortSize, as_numpy, check_inputs, text
from cnncc.runtime.extents import Extent


@dataclass(frozen=True)
class Range:
    """A size that a caller chooses: `least`, `least + step`, ... up to `most`."""

    name: str
    """What the network calls it."""
    least: int
    """The smallest."""
    most: int
    """The largest."""
    step: int = 1
    """From one to the next."""

    def __contains__(self, size: object) -> bool:
        return isinstance(size, Integral) and int(size) in range(self.least, self.most + 1, self.step)

    @property
    def sizes(self) -> str:
        """All of them, for people: `32, 64, ..., 1024`."""
        all_sizes = range(self.least, self.most + 1, self.step)
        if len(all_sizes) <= 4:
            return ", ".join(map(str, all_sizes))
        return f"{all_sizes[0]}, {all_sizes[1]}, ..., {all_sizes[-1]}"

    def __str__(self) -> str:
        """`h in 32..1024 step 32`."""
        return f"{self.name} in {self.least}..{self.most}{f' step {self.step}' if self.step > 1 else ''}"


@dataclass(frozen=True)
class RangeMemory:
    """The arena of a run as expressions of the sizes, which may share parts."""

    parts: Sequence[extents.Expression]
    first: extents.Expression
    """Of one image."""
    further: extents.Expression
    """That each further one adds."""

    def at(self, sizes: Mapping[str, int]) -> tuple[int, int]:
        """The bytes of the first image and of each further one."""
        parts = extents.values(self.parts, sizes)
        return extents.value(self.first, sizes, parts), extents.value(self.further, sizes, parts)


@dataclass(frozen=True)
class Ranges:
    """The sizes that a model takes, and its memory."""

    of: tuple[Range, ...]
    memory: RangeMemory

    @classmethod
    def described(cls, info: Mapping[str, Any]) -> Ranges | None:
        """Those that the description of a module says; None for a module of one size, or of several that are listed."""
        if "ranges" not in info:
            return None
        arena = info["memory"]["arena"]
        memory = RangeMemory(arena["parts"], arena["first_image"], arena["further_image"])
        return cls(tuple(Range(**one) for one in info["ranges"]), memory)

    def at(self, ports: PortSize, sizes: Mapping[str, int]) -> PortSize:
        """The inputs and outputs at one size."""
        first, further = self.memory.at(sizes)
        inputs, outputs = (tuple(port.at(sizes) for port in some) for some in (ports.inputs, ports.outputs))
        arena = first + (inputs[0].shape[0] - 1) * further
        return replace(
            ports,
            inputs=inputs,
            outputs=outputs,
            arena_bytes=arena,
            arena_bytes_per_image=further,
            told=tuple(sizes[one.name] for one in self.of),
        )

    def checked(self, name: str, sizes: Mapping[str, Any]) -> dict[str, int]:
        """Sizes that a caller says, by name. InputError for one that is missing, unknown or not of its range."""
        known = [one.name for one in self.of]
        if sorted(known) != sorted(sizes):
            raise InputError(
                f"{name} has the sizes {', '.join(known)}, got {', '.join(sizes) or 'none'}", hint=str(self)
            )
        for one in self.of:
            if sizes[one.name] not in one:
                raise InputError(f"{name}: {one.name} = {sizes[one.name]!r} is not one of {one.sizes}")
        return {size: int(value) for size, value in sizes.items()}

    def sizes_of(self, name: str, ports: Sequence[Port], given: Sequence[Any]) -> dict[str, int]:
        """The sizes that arrays have, by name. InputError if there are not as many arrays as inputs, for arrays of
        other shapes, for a size that is not of its range, and for inputs of different sizes."""
        if len(given) != len(ports):
            check_inputs(name, ports, given)
        found: dict[str, tuple[int, str]] = {}
        for port, one in zip(ports, given, strict=True):
            array = as_numpy(f"input {port.name!r}", one)
            for size, chosen in self._sizes_of(port, array).items():
                before, where = found.setdefault(size, (chosen, port.name))
                if before != chosen:
                    what = f"{name}: {size} is {before} in input {where!r} and {chosen} in input {port.name!r}"
                    raise InputError(what, hint="all inputs of a call have the same sizes")
        return {one.name: found[one.name][0] for one in self.of}

    def _sizes_of(self, port: Port, array: np.ndarray) -> dict[str, int]:
        what = f"input {port.name!r}"
        shapes = [(port.shape[1:], array.shape[1:])] if array.ndim else []
        if port.declared is not None:
            start = int(port.declared.batched)
            shapes.insert(0, (port.declared.shape[start:], array.shape[start:]))
        found = next((sizes for sizes in (_matched(*pair) for pair in shapes) if sizes is not None), None)
        if found is None:
            hint = f"{self}"
            if _matched(port.shape[1:], array.shape) is not None:
                hint = "an array has one axis more: that of the images"
            theirs = f" or, as in the file, {port.declared}" if port.declared is not None and port.differs else ""
            raise InputError(f"{what} must be {port.shapes}{theirs}, got {text(array.shape)}", hint=hint)
        for one in self.of:
            if one.name in found and found[one.name] not in one:
                told = f"{one.name} = {found[one.name]} is not one of {one.sizes}"
                raise InputError(f"{what}: {text(array.shape)}: {told}")
        return found

    def __str__(self) -> str:
        """`h in 32..1024 step 32, w in 32..4096 step 8`."""
        return ", ".join(map(str, self.of))


def _matched(wanted: Sequence[int | Extent], shape: Sequence[int]) -> dict[str, int] | None:
    """The sizes at which a shape is the one that is wanted; None if it is at none. An expression that is more than the
    name of a size is not looked at: the array is checked once the sizes are known."""
    if len(wanted) != len(shape):
        return None
    found: dict[str, int] = {}
    for dim, number in zip(wanted, shape, strict=True):
        if isinstance(dim, Extent):
            if isinstance(dim.expression, str) and found.setdefault(dim.expression, number) != number:
                return None
        elif dim != number:
            return None
    return found
