"""A compiled network that can be called with arrays. Stands alone: NumPy and the standard library only."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnncc.base.errors import CnnccError
from cnncc.runtime import extents
from cnncc.runtime.arrays import InputError, Port, PortSize, check_inputs, check_outputs, in_order, size_for
from cnncc.runtime.declared import Declared
from cnncc.runtime.interface import Threads
from cnncc.runtime.origin import Origin
from cnncc.runtime.ranges import Range, Ranges

__all__ = ["EntryPoint", "InputError", "Model", "Port", "PortSize", "Range"]

MOST_KNOWN = 256
"""Sizes of a range of which a model keeps what it worked out."""


@dataclass(frozen=True, eq=False)
class EntryPoint:
    """Where the code of an opened module begins, and what must live as long as it."""

    run: Callable[..., int]
    """The function `NAME_run_with`."""
    model: int
    """Address of the model it runs."""
    error_text: Callable[[int], str]
    keep: tuple[object, ...]
    """The library first, then what it reads: weights, the state of its model."""
    parallel_for: int | None = None
    """Address of what starts threads; None for the module's own pool."""


class Model:
    """A compiled network, made by `compile` or `load`: `model(array)` runs it.

    Any number of threads may call one model at the same time; the interpreter's lock is released during a run. A model
    from `load` can be pickled. The pickle holds the path and the hash of the file, not the file.
    """

    def __init__(self, info: dict[str, Any], entry: EntryPoint, origin: Origin | None = None) -> None:
        """A module that says `info` of itself; `origin` is the file it was loaded from, if there is one."""
        self.info = info
        """What the module says of itself, as `cnncc info --json` prints it: name, shapes, target, versions, memory in
        bytes, kernels."""
        listed = [PortSize.described(about, (i,)) for i, about in enumerate(info.get("sizes", ()))]
        self.sizes = tuple(listed or [PortSize.described(info)])
        """Inputs and outputs for each size of the inputs that the network was compiled for. For a range of sizes it is
        one, whose shapes say what depends on the size, and whose arena is that of the largest."""
        self._entry = entry
        self._threads = Threads(int(info["threads"]), entry.parallel_for)
        self._origin = origin
        self.saver: Callable[[str | os.PathLike[str], str | Sequence[str]], Mapping[str, Path]] | None = None
        """What writes the module of a model that was compiled in this process."""
        self._chosen: int | None = None
        self._ranges = Ranges.described(info)
        self._known: dict[tuple[object, ...], PortSize] = {}
        """Sizes of the range that calls had, by the shapes of their arrays."""
        self._alone: tuple[int | None, dict[str, int]] | None = None
        """What `at_size` was told, of a model for one of the module's sizes."""
        self._arenas: list[np.ndarray] = []

    @property
    def name(self) -> str:
        """The name of the network."""
        return str(self.info["name"])

    @property
    def inputs(self) -> tuple[Port, ...]:
        """One `Port` for each array that a call takes, in order; of the first size, if there are several."""
        return self.sizes[0].inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """One `Port` for each result, in order; of the first size, if there are several."""
        return self.sizes[0].outputs

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The sizes that a caller chooses, if the network was compiled for a range of them."""
        return () if self._ranges is None else self._ranges.of

    @property
    def batch(self) -> int:
        """The most images that a call takes: the first size of all shapes."""
        return self.inputs[0].shape[0]

    @property
    def threads(self) -> int:
        """How many threads each call uses."""
        return int(self._threads.count)

    def __repr__(self) -> str:
        chosen = f" where {self._ranges}" if self._ranges else ""
        shapes = "; ".join(map(str, self.sizes))
        return f"<cnncc model {self.name} for {self.info['target']['name']}: {shapes}{chosen}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._origin is None:
            raise CnnccError(
                f"{self.name} was compiled into this process and cannot be pickled",
                hint="write it with `cnncc compile NET -o NET.so` and pickle what cnncc.load returns",
            )
        reopen, arguments = self._origin.recipe(self._chosen)
        if self._alone is not None:
            return _at_size, (reopen, arguments, *self._alone)
        return reopen, arguments

    def declare(self, inputs: Mapping[str, Declared], outputs: Sequence[Declared | None], number: int = 0) -> None:
        """From now on, calls also take arrays as the network's file declares them, and give results as it declares
        them.

        `inputs` is by name, `outputs` in order, of the size of that number. If the file declares more images than a
        run takes, a call takes any number of them. Results that are written to `out` stay of this module's types and
        shapes."""
        sizes = list(self.sizes)
        sizes[number] = sizes[number].declare(inputs, outputs)
        self.sizes = tuple(sizes)
        self._known.clear()

    def at_size(self, number: int | None = None, /, **sizes: int) -> Model:
        """The model for one of its sizes alone, with that as `inputs` and in `info`. It cannot be saved.

        Sizes that are listed are counted from 0. A size of a range is said by name: `model.at_size(h=224, w=320)`.
        CnnccError for a number that no size has, or a size that is not of the range."""
        if self._ranges is not None:
            chosen = self._ranges.checked(self.name, sizes if number is None else {str(number): number, **sizes})
            size = self._ranges.at(self.sizes[0], chosen)
            about = _at_one(self.info, size, chosen)
        elif not sizes and isinstance(number, int) and 0 <= number < len(self.sizes):
            size, about = self.sizes[number], dict(self.info)
            about |= about.pop("sizes", [about])[number]
            about["memory"] = {**self.info["memory"], **about["memory"]}
        else:
            got = repr(number) if not sizes else ", ".join(f"{name} = {n}" for name, n in sizes.items())
            raise CnnccError(f"{self.name} has sizes 0 to {len(self.sizes) - 1}, got {got}")
        alone = Model(about, self._entry, self._origin)
        alone.sizes = (size,)
        if size.told:
            alone._alone = self._alone or (number, sizes)
        if self._chosen is not None:
            alone.set_threads(self._chosen)
        return alone

    def set_threads(self, threads: int) -> int:
        """Sets how many threads later calls use, and returns that number. It is at least 1 and at most what the model
        was compiled for: other numbers become the nearest of these."""
        self._chosen = self._threads.count = max(1, min(threads, int(self.info["threads"])))
        return self._chosen

    def save(self, path: str | os.PathLike[str], emit: str | Sequence[str] = ("so", "h")) -> Mapping[str, Path]:
        """Writes what `compile` made in this process, as `cnncc compile -o PATH` does: a module that `load` opens, for
        all targets that were named, and whatever else is wanted.

        `emit` are kinds of files: `so`, `a`, `o`, `h`, `hpp`, `ll`, `asm`, on a GPU `cu`, `ptx` and `cubin` too.
        `path` is the name of the first, or has no ending, and then every kind adds its own. Returns the files, by kind.
        CnnccError for a model from `load`, for a kind that the target does not have, and if a file cannot be written.
        """
        if self.saver is None:
            hint = (
                "a module from `load` is a file already; a `Built` has `write`; of several sizes all are saved together"
            )
            raise CnnccError(f"{self.name} is not from `cnncc.compile`, and cannot be written", hint=hint)
        return self.saver(path, emit)

    def __call__(self, *arrays: Any, out: Any = None, **named: Any) -> Any:
        """Runs the network on 1 to `batch` images.

        Takes one array for each input, in order: n images of the shapes of `inputs`, (n, c, h, w) or (n, k). Of a model
        for a range of sizes (`ranges`) they are of any size of it, the same for all arrays of a call. An image gets the
        same bits in every batch, and on a processor a few images take no longer than with a model for so many. Arrays
        are float32, unless the network says another type (`Port.dtype`); of bfloat16 they are uint16, its bits. They
        are arrays of NumPy, or of another library with DLPack if the data is in the CPU's memory. A model that was
        compiled from an ONNX file in this process also takes arrays as the file declares them, and returns them so.

        Returns a new array in the shape and type of `outputs`, or a tuple of one for each output if there are several.
        With `out`, an array or a tuple of arrays, the results are written there, nothing is allocated, and `out` is
        returned.

        Arrays may be given by the names of the inputs instead: `model(image=array)`. One dictionary of arrays by the
        names of the inputs may stand for all arrays, too. The result, and `out`, are then dictionaries by the names of
        the outputs.

        Raises InputError if the number of arrays, a name, a shape or a dtype is wrong, and CnnccError if the run fails.
        """
        if named:
            arrays = self._all_named(arrays, named)
        if len(arrays) == 1 and isinstance(arrays[0], Mapping):
            return self._by_name(self, arrays[0], out)
        if any(p.declared and p.declared.is_for_other_batch(self.batch) for p in self.inputs):
            return self.run_many(*arrays, out=out)
        size = self._size_for(arrays)
        inputs = check_inputs(self.name, size.inputs, arrays, self.batch)
        return self._result(size, inputs, out, self._run_once)

    def run_many(self, *arrays: Any, out: Any = None) -> Any:
        """Runs the network on any number of images, batch after batch.

        The arrays are those of a call, but may hold more images than `batch`, or none. Returns arrays of as many
        results. Raises InputError and CnnccError as a call does.
        """
        if len(arrays) == 1 and isinstance(arrays[0], Mapping):
            return self._by_name(self.run_many, arrays[0], out)
        size = self._size_for(arrays)
        inputs = check_inputs(self.name, size.inputs, arrays)
        return self._result(size, inputs, out, self._run_batches)

    def _size_for(self, arrays: Sequence[Any]) -> PortSize:
        """The size that arrays have. InputError if it is none of the model's."""
        if self._ranges is None:
            return self.sizes[size_for(self.name, self.sizes, arrays)]
        key = tuple([array.shape if isinstance(array, np.ndarray) else None for array in arrays])
        size = self._known.get(key)
        if size is None:
            (ports,) = self.sizes
            size = self._ranges.at(ports, self._ranges.sizes_of(self.name, ports.inputs, arrays))
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            if None not in key:
                self._known[key] = size
        return size

    def _all_named(self, arrays: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Arrays of which all or the last are given by name, in order."""
        if arrays and isinstance(arrays[0], Mapping):
            raise InputError(f"{self.name} takes one dictionary, or arrays by name, not both")
        first = dict(zip((port.name for port in self.inputs), arrays, strict=False))
        if twice := [name for name in named if name in first]:
            raise InputError(f"{self.name}: {twice[0]!r} is given twice")
        if len(arrays) > len(self.inputs):
            raise InputError(f"{self.name} takes {len(self.inputs)} arrays, got {len(arrays) + len(named)}")
        return tuple(in_order(self.name, self.inputs, {**first, **named}))

    def _by_name(self, run: Callable[..., Any], arrays: Mapping[str, Any], out: Mapping[str, Any] | None) -> Any:
        """A call with arrays by name."""
        inputs = in_order(self.name, self.inputs, arrays)
        if out is not None and not isinstance(out, Mapping):
            raise InputError(f"{self.name}: out must be a dictionary, as the inputs are")
        if out is not None:
            run(*inputs, out=tuple(in_order(self.name, self.outputs, out)))
            return out
        results = run(*inputs)
        several = results if isinstance(results, tuple) else (results,)
        return dict(zip((port.name for port in self.outputs), several, strict=True))

    def _result(
        self,
        size: PortSize,
        inputs: list[np.ndarray],
        out: Any,
        run: Callable[[PortSize, np.ndarray, list[np.ndarray], list[np.ndarray]], None],
    ) -> Any:
        """Makes `run` write the results of all images, to `out` or to new arrays. No other call uses its arena."""
        count, outputs = len(inputs[0]), size.outputs
        results = (
            [np.empty((count, *p.shape[1:]), p.numpy) for p in outputs]
            if out is None
            else check_outputs(self.name, outputs, out, inputs, count)
        )
        arena = self._take_arena(_arena_bytes(size, min(max(count, 1), self.batch)))
        try:
            run(size, arena, inputs, results)
        finally:
            self._arenas.append(arena)
        if out is not None:
            return out
        results = [p.declared.from_ours(r) if p.declared else r for p, r in zip(outputs, results, strict=True)]
        return results[0] if len(results) == 1 else tuple(results)

    def _run_batches(
        self, size: PortSize, arena: np.ndarray, inputs: list[np.ndarray], results: list[np.ndarray]
    ) -> None:
        for start in range(0, len(inputs[0]), self.batch):
            part = slice(start, start + self.batch)
            self._run_once(size, arena, [a[part] for a in inputs], [r[part] for r in results])

    def run_in(self, arena: np.ndarray, arrays: Sequence[Any]) -> list[np.ndarray]:
        """Runs in the caller's arena and returns all outputs. The arena is of uint8, aligned as `info["memory"]` says,
        and as long as `arena_bytes_for` says."""
        size = self._size_for(arrays)
        inputs = check_inputs(self.name, size.inputs, arrays, self.batch)
        results = [np.empty((len(inputs[0]), *p.shape[1:]), p.numpy) for p in size.outputs]
        self._run_once(size, arena, inputs, results)
        return results

    def _run_once(
        self, size: PortSize, arena: np.ndarray, inputs: Sequence[np.ndarray], results: Sequence[np.ndarray]
    ) -> None:
        """One run of the compiled code; ctypes releases the interpreter's lock meanwhile."""
        plain = [np.require(array, requirements=("C", "A")) for array in inputs]
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*plain, *results, arena)]
        model, images = ctypes.c_void_p(self._entry.model), ctypes.c_int32(len(plain[0]))
        told = map(ctypes.c_int32, size.told)
        code = self._entry.run(
            model, *told, images, *pointers, ctypes.c_size_t(arena.nbytes), ctypes.byref(self._threads)
        )
        if code:
            text = self._entry.error_text(code)
            raise CnnccError(f"{self.name}: run failed: {text}", hint=self._advice(text))

    def _advice(self, text: str) -> str:
        """What to do about a run that failed."""
        return ""

    def arena_bytes_for(self, images: int, number: int = 0) -> int:
        """Bytes of the arena that a run of so many images needs, with inputs of the size of that number; of a range, of
        its largest size."""
        return _arena_bytes(self.sizes[number], images)

    def new_arena(self, images: int | None = None, number: int = 0) -> np.ndarray:
        """An arena of the right size and alignment for runs of so many images, by default the most, with inputs of the
        size of that number; of a range, of any size."""
        return self._arena(self.arena_bytes_for(images or self.batch, number))

    def _arena(self, size: int) -> np.ndarray:
        align = int(self.info["memory"]["arena_align"])
        raw = np.empty(max(1, size) + align, np.uint8)
        start = -raw.ctypes.data % align
        return raw[start : len(raw) - align + start]

    def _take_arena(self, size: int) -> np.ndarray:
        """An arena that no other call uses: list.pop is atomic, so two threads never get the same one. One that is too
        small is given up."""
        try:
            arena = self._arenas.pop()
        except IndexError:
            return self._arena(size)
        return arena if arena.nbytes >= size else self._arena(size)


def _arena_bytes(size: PortSize, images: int) -> int:
    """The arena of a run of so many images, of the most that the shapes of the size say."""
    return size.arena_bytes - (int(size.inputs[0].shape[0]) - images) * size.arena_bytes_per_image


def _at_one(info: Mapping[str, Any], size: PortSize, sizes: Mapping[str, int]) -> dict[str, Any]:
    """What a module says of itself at one size of its range."""
    about = {key: what for key, what in info.items() if key not in ("ranges", "middle", "macs", "macs_for")}
    if "macs_for" in info:
        about["macs"] = extents.value(info["macs_for"], sizes)
    for ports, known in (("inputs", size.inputs), ("outputs", size.outputs)):
        about[ports] = [{**one, "shape": list(port.shape)} for one, port in zip(info[ports], known, strict=True)]
    memory = {key: what for key, what in info["memory"].items() if key != "arena"}
    memory |= {"arena_bytes": size.arena_bytes, "arena_bytes_per_image": size.arena_bytes_per_image}
    return {**about, "memory": memory, "size": dict(sizes)}


def _at_size(
    reopen: Callable[..., Model], arguments: Sequence[Any], number: int | None, sizes: dict[str, int]
) -> Model:
    """What pickle calls for a model of one of several sizes."""
    return reopen(*arguments).at_size(number, **sizes)
