"""Weights: binding a graph's constants to a safetensors file or to seeded initial values, and saving them."""

from __future__ import annotations

import difflib
import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cnncc.errors import CnnccError
from cnncc.files import replacing
from cnncc.ir import Constant, Graph
from cnncc.weight_init import seeded

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_MOST_HINTS = 40
"""Nearest names are looked up for that many names: more wrong names than that have one common reason."""


def bind(graph: Graph, path: str | os.PathLike[str] | None = None, seed: int = 0) -> Graph:
    """The graph with a value for every constant, read or computed when first asked for.

    `path` is a safetensors file that holds exactly the graph's constants under their names, in float32, or float16,
    bfloat16 or float64, which are converted. Without it: He-normal initial values, the same for the same seed and name.
    Raises CnnccError for a file that cannot be read, and for names or shapes that differ: one error lists all of them.
    """
    if path is None:
        if seed < 0:
            raise CnnccError(f"the seed of the initial weights must not be negative: {seed}")
        return graph.rebuild(graph.nodes, constants=seeded(graph, seed))
    stored = _open(Path(path))
    mismatches = _mismatches({name: c.shape for name, c in graph.constants.items()}, stored)
    if mismatches:
        hint = f"`cnncc weights` writes a file with the names and shapes of {graph.name}"
        raise CnnccError("\n".join([f"{os.fspath(path)} does not fit net {graph.name}:", *mismatches]), hint=hint)
    bound = {name: Constant(c.shape, stored[name].read) for name, c in graph.constants.items()}
    return graph.rebuild(graph.nodes, constants=bound)


def save(graph: Graph, path: str | os.PathLike[str], seed: int | None = None) -> None:
    """Write all constants of a bound graph as float32 safetensors; `seed` goes into the metadata if given.

    The file appears whole or not at all, and the same weights give the same bytes. Raises CnnccError when it cannot
    be written.
    """
    target = Path(path)
    tensors = {name: np.asarray(c.value, dtype=np.float32) for name, c in graph.constants.items()}
    # One key only: safetensors writes several in the order of a hash table, different on every run.
    about = {"net": graph.name} if seed is None else {"net": graph.name, "seed": seed}
    try:
        with replacing(target) as scratch:
            save_file(tensors, scratch, metadata={"cnncc": json.dumps(about, sort_keys=True)})
    except (OSError, SafetensorError) as error:
        raise CnnccError(f"cannot write weights to {target}: {error}") from error


@dataclass(frozen=True)
class _Stored:
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def _open(path: Path) -> Mapping[str, _Stored]:
    """The tensors of a safetensors file. The file stays mapped for as long as any of them is in use."""
    try:
        file = safe_open(path, framework="numpy")
        slices = {name: file.get_slice(name) for name in file.keys()}
        bfloats = _bfloat16(path, [name for name, s in slices.items() if s.get_dtype() == "BF16"])
    except OSError as error:
        raise CnnccError(f"cannot read weights from {path}: {error}") from error
    except SafetensorError as error:
        hint = "weights are read from safetensors only; convert other formats with their own tools"
        raise CnnccError(f"{path} is not a safetensors file: {error}", hint=hint) from error
    return {
        name: _Stored(s.get_dtype(), tuple(s.get_shape()), bfloats.get(name) or partial(_float32, file, name))
        for name, s in slices.items()
    }


def _float32(file: Any, name: str) -> np.ndarray:
    return np.asarray(file.get_tensor(name), dtype=np.float32)


def _bfloat16(path: Path, names: list[str]) -> Mapping[str, Callable[[], np.ndarray]]:
    """Readers of bfloat16 tensors, which NumPy does not know: they are the upper halves of float32 numbers."""
    if not names:
        return {}
    data = np.memmap(path, dtype=np.uint8, mode="r")
    (header_size,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8 : 8 + header_size].tobytes())

    def read(shape: tuple[int, ...], begin: int, end: int) -> np.ndarray:
        halves = np.frombuffer(data[8 + header_size + begin : 8 + header_size + end].tobytes(), dtype="<u2")
        return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)

    return {name: partial(read, tuple(header[name]["shape"]), *header[name]["data_offsets"]) for name in names}


def _mismatches(wanted: Mapping[str, tuple[int, ...]], stored: Mapping[str, _Stored]) -> list[str]:
    """One line for each missing, left-over, wrong-shape or wrong-type tensor."""
    missing = [name for name in wanted if name not in stored]
    extra = [name for name in stored if name not in wanted]
    both = [name for name in wanted if name in stored]
    found = {name: _dims(tensor.shape) for name, tensor in stored.items()}
    misshapen = [name for name in both if wanted[name] != stored[name].shape]
    not_float = [name for name in both if stored[name].dtype not in _FLOATS]
    return [
        *(f"  missing: {name} ({_dims(wanted[name])}){_hint(name, extra, i)}" for i, name in enumerate(missing)),
        *(f"  left over: {name} ({found[name]}){_hint(name, missing, i)}" for i, name in enumerate(extra)),
        *(f"  shape of {n}: the net has {_dims(wanted[n])}, the file {found[n]}" for n in misshapen),
        *(f"  type of {n}: {stored[n].dtype} is not a floating-point type of weights" for n in not_float),
    ]


def _dims(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _hint(name: str, choices: Iterable[str], position: int) -> str:
    close = difflib.get_close_matches(name, choices, n=1) if position < _MOST_HINTS else []
    return f", nearest: {close[0]}" if close else ""
