"""A compiled network that can be called with NumPy arrays. Stands alone: NumPy and the standard library only."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import CnnccError
from cnncc.runtime.interface import Threads


@dataclass(frozen=True)
class Port:
    """An input or output of a model: float32, shape with the batch first."""

    name: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: float32 {'x'.join(map(str, self.shape))}"


class Model:
    """A compiled network: `model(array) -> array`, or a tuple of arrays where it has several outputs.

    Any number of threads may call the same model; the interpreter's lock is released during a run.
    """

    def __init__(
        self,
        info: dict[str, Any],
        run: Callable[..., int],
        model: int,
        error_text: Callable[[int], str],
        parallel_for: int | None = None,
        keep: Sequence[object] = (),
    ) -> None:
        """`run` is the function `NAME_run_with`, `model` the address of its model; `parallel_for` the address of what
        starts threads, None for the module's own pool."""
        self.info = info
        """What the module says of itself: name, shapes, target, versions, memory, kernels."""
        self.inputs = tuple(Port(p["name"], tuple(p["shape"])) for p in info["inputs"])
        self.outputs = tuple(Port(p["name"], tuple(p["shape"])) for p in info["outputs"])
        self._run = run
        self._model = ctypes.c_void_p(model)
        self._error_text = error_text
        self._threads = Threads(int(info["threads"]), parallel_for)
        self._keep = tuple(keep)
        self._arenas: list[np.ndarray] = []

    @property
    def name(self) -> str:
        return str(self.info["name"])

    def __repr__(self) -> str:
        ports = f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"
        return f"<cnncc model {self.name} for {self.info['target']['name']}: {ports}>"

    def set_threads(self, threads: int) -> int:
        """Threads of later calls; returns the number now in force (at most what the model was compiled for)."""
        self._threads.count = max(1, min(threads, int(self.info["threads"])))
        return int(self._threads.count)

    def __call__(self, *arrays: np.ndarray) -> Any:
        """Runs the network. Raises CnnccError for a wrong number of arrays, a wrong shape or dtype."""
        arena = self._take_arena()
        try:
            results = self.run_in(arena, arrays)
        finally:
            self._arenas.append(arena)
        return results[0] if len(results) == 1 else tuple(results)

    def run_in(self, arena: np.ndarray, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs in a given arena (uint8, aligned, `info["memory"]["arena_bytes"]` long) and returns all outputs."""
        checked = self._check(arrays)
        results = [np.empty(p.shape, np.float32) for p in self.outputs]
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*checked, *results, arena)]
        size = ctypes.c_size_t(arena.nbytes)
        code = self._run(self._model, *pointers, size, ctypes.byref(self._threads))
        if code:
            raise CnnccError(f"{self.name}: run failed: {self._error_text(code)}")
        return results

    def new_arena(self) -> np.ndarray:
        """An arena of the right size and alignment."""
        align = int(self.info["memory"]["arena_align"])
        raw = np.empty(max(1, int(self.info["memory"]["arena_bytes"])) + align, np.uint8)
        start = -raw.ctypes.data % align
        return raw[start : len(raw) - align + start]

    def _take_arena(self) -> np.ndarray:
        """An arena nobody uses: list.pop is atomic, so threads never share one."""
        try:
            return self._arenas.pop()
        except IndexError:
            return self.new_arena()

    def _check(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        if len(arrays) != len(self.inputs):
            wanted = "; ".join(map(str, self.inputs))
            plural = "" if len(self.inputs) == 1 else "s"
            raise InputError(f"{self.name} takes {len(self.inputs)} array{plural} ({wanted}), got {len(arrays)}")
        return [self._check_one(port, array) for port, array in zip(self.inputs, arrays, strict=True)]

    def _check_one(self, port: Port, array: np.ndarray) -> np.ndarray:
        if not isinstance(array, np.ndarray):
            raise InputError(f"input {port.name!r} must be a NumPy array, got {type(array).__name__}")
        if array.dtype != np.float32:
            raise InputError(
                f"input {port.name!r} must be float32, got {array.dtype}",
                hint="convert it with array.astype('float32')",
            )
        if array.shape != port.shape:
            got = "x".join(map(str, array.shape)) or "a scalar"
            hint = "the batch is fixed when a network is compiled" if array.shape[1:] == port.shape[1:] else ""
            raise InputError(f"input {port.name!r} must be {'x'.join(map(str, port.shape))}, got {got}", hint=hint)
        return np.ascontiguousarray(array)


class InputError(CnnccError, ValueError):
    """An array a model cannot take."""
