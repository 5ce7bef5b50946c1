"""Gives a graph's constants their values, from a safetensors file or from a seed, and saves them."""

from __future__ import annotations

import difflib
import json
import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc.base.elements import BFLOAT16, FLOAT32, INT8, INT32, UINT8, Element, decode, encode
from cnncc.base.errors import CnnccError, reason
from cnncc.base.files import check_outputs, replacing
from cnncc.ir import Constant, Graph
from cnncc.weights.initial import seeded
from cnncc.weights.names import origin_hint

if TYPE_CHECKING:
    from safetensors import SafetensorError

_INTEGERS = {UINT8: "U8", INT8: "I8", INT32: "I32"}
"""What safetensors calls them."""
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_MOST_NAMES = 10
"""How many names an error lists of each kind of mismatch. If there are more, all have one reason."""
_CLOSE = 0.8
"""Similarity (of difflib) from which a name counts as a misspelling of another."""


def bind(graph: Graph, path: str | os.PathLike[str] | None = None, seed: int = 0) -> Graph:
    """The graph with a value for every constant. A value is read or computed when it is first used.

    `path` is a safetensors file with exactly the graph's constants, under their names. Those of floating point are
    converted to the constant's type, from float32, float16, bfloat16 or float64; integers must have it. Without a file
    the values are random (He-normal), the same for the same `seed` and name.

    Raises CnnccError if the file cannot be read, or if names or shapes differ. One error lists all differences, up to
    ten of each kind.
    """
    if path is None:
        if seed < 0:
            raise CnnccError(f"the seed of the initial weights must not be negative: {seed}")
        return graph.rebuild(graph.nodes, constants=seeded(graph, seed))
    stored = _open(Path(path))
    _refuse_mismatches(graph, stored, path)
    bound = {
        name: Constant(c.shape, partial(_read, stored[name], c.element), c.element)
        for name, c in graph.constants.items()
    }
    return graph.rebuild(graph.nodes, constants=bound)


def refuse_mismatches(graph: Graph, arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """CnnccError unless the tensors of the file `path` are exactly the graph's constants."""
    stored = {name: _Stored(_type_of(a), a.shape, partial(np.asarray, a)) for name, a in arrays.items()}
    _refuse_mismatches(graph, stored, path)


def _type_of(array: np.ndarray) -> str:
    """What safetensors calls the type of an array, as far as weights may have it."""
    if array.dtype.kind == "f":
        return "F32"
    return next((name for element, name in _INTEGERS.items() if element.dtype == array.dtype), str(array.dtype))


def _read(tensor: _Stored, element: Element) -> np.ndarray:
    return as_constant(tensor.read(), element)


def as_constant(value: np.ndarray, element: Element) -> np.ndarray:
    """The value of a tensor as a constant of that type has it: halves are rounded from float32."""
    return value if element.whole or element == FLOAT32 else encode(value, element)


def _refuse_mismatches(graph: Graph, stored: Mapping[str, _Stored], path: str | os.PathLike[str]) -> None:
    mismatches = _mismatches(graph.constants, stored)
    if mismatches:
        own = f"`cnncc weights NET -o FILE` writes a file with the names and shapes of {graph.name}"
        hint = _norms_hint(graph, stored, path) or origin_hint(stored, os.fspath(path)) or own
        raise CnnccError("\n".join([f"{os.fspath(path)} does not fit net {graph.name}:", *mismatches]), hint=hint)


def _norms_hint(graph: Graph, stored: Iterable[str], path: str | os.PathLike[str]) -> str:
    """What to do where only the file has batch norms."""
    if not any(name.endswith(".running_mean") for name in stored) or any(
        name.endswith(".running_mean") for name in graph.constants
    ):
        return ""
    command = f"`cnncc weights NET --from {os.fspath(path)} -o FILE`, with --map where names differ"
    return f"{graph.name} has its batch norms inside the layers before them: {command}, folds those of the file"


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file by name; those of floating point as float32. Raises CnnccError if the file
    cannot be read."""
    return {name: tensor.read() for name, tensor in _open(Path(path)).items()}


def description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What cnncc noted in a safetensors file that it wrote: nothing in those of others. CnnccError if the file cannot
    be read."""
    from safetensors import SafetensorError, safe_open  # not needed for weights from a seed

    try:
        Path(path).open("rb").close()
        with safe_open(path, framework="numpy") as file:
            noted = (file.metadata() or {}).get("cnncc")
        found = json.loads(noted) if noted else {}
    except OSError as error:
        raise CnnccError(f"cannot read weights from {path}: {reason(error)}") from error
    except SafetensorError as error:
        raise CnnccError(f"{path} is not a safetensors file: {error}") from error
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def save(
    graph: Graph, path: str | os.PathLike[str], seed: int | None = None, about: Mapping[str, Any] | None = None
) -> None:
    """Writes all constants of a graph with weights to a safetensors file: integers as they are, all others as float32.

    A `seed`, and what else `about` says, are noted in the metadata. The file appears whole or not at all, and the same
    weights give the same bytes. Raises CnnccError if it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    target = Path(path)
    check_outputs({"the weights": target}, {})
    tensors = {name: c.value if c.element.whole else decode(c.value, c.element) for name, c in graph.constants.items()}
    # Only one key: safetensors writes several in an order that differs from run to run.
    noted = {"net": graph.name, **({} if seed is None else {"seed": seed}), **(about or {})}
    try:
        with replacing(target) as scratch:
            save_file(tensors, scratch, metadata={"cnncc": json.dumps(noted, sort_keys=True)})
    except (OSError, SafetensorError) as error:
        why = reason(error) if isinstance(error, OSError) else _system_text(error)
        raise CnnccError(f"cannot write weights to {target}: {why}") from error


def _system_text(error: SafetensorError) -> str:
    """The system's message, without the rest of safetensors' text, which names our temporary file."""
    number = re.search(r"os error (\d+)", str(error))
    return reason(OSError(int(number[1]), "")) if number else str(error)


@dataclass(frozen=True)
class _Stored:
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def _open(path: Path) -> Mapping[str, _Stored]:
    """The tensors of a safetensors file. The file stays mapped for as long as any of them is in use."""
    from safetensors import SafetensorError, safe_open  # not needed for weights from a seed

    try:
        path.open("rb").close()  # an OSError has a number; the error of safetensors has a text only
        file = safe_open(path, framework="numpy")
        slices = {name: file.get_slice(name) for name in file.keys()}
        bfloats = _bfloat16(path, [name for name, s in slices.items() if s.get_dtype() == "BF16"])
    except OSError as error:
        raise CnnccError(f"cannot read weights from {path}: {reason(error)}") from error
    except SafetensorError as error:
        hint = "other formats that are read end in .npz, .pth, .pt or .onnx"
        raise CnnccError(f"{path} is not a safetensors file: {error}", hint=hint) from error
    return {
        name: _Stored(s.get_dtype(), tuple(s.get_shape()), bfloats.get(name) or partial(_array, file, name))
        for name, s in slices.items()
    }


def _array(file: Any, name: str) -> np.ndarray:
    found = np.asarray(file.get_tensor(name))
    return found.astype(np.float32, copy=False) if found.dtype.kind == "f" else found


def _bfloat16(path: Path, names: list[str]) -> Mapping[str, Callable[[], np.ndarray]]:
    """Functions that read bfloat16 tensors. NumPy has no such type; the numbers are the upper halves of float32
    numbers."""
    if not names:
        return {}
    data = np.memmap(path, dtype=np.uint8, mode="r")
    (header_size,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8 : 8 + header_size].tobytes())

    def read(shape: tuple[int, ...], begin: int, end: int) -> np.ndarray:
        halves = np.frombuffer(data[8 + header_size + begin : 8 + header_size + end].tobytes(), BFLOAT16.dtype)
        return decode(halves, BFLOAT16).reshape(shape)

    return {name: partial(read, tuple(header[name]["shape"]), *header[name]["data_offsets"]) for name in names}


def _mismatches(constants: Mapping[str, Constant], stored: Mapping[str, _Stored]) -> list[str]:
    """One line for each tensor that is missing, left over, or of another shape or type; at most `_MOST_NAMES` of each
    kind."""
    wanted = {name: constant.shape for name, constant in constants.items()}
    missing = [name for name in wanted if name not in stored]
    extra = [name for name in stored if name not in wanted]
    both = [name for name in wanted if name in stored]
    found = {name: _dims(tensor.shape) for name, tensor in stored.items()}
    renamed = partial(_nearest, {**{n: wanted[n] for n in missing}, **{n: stored[n].shape for n in extra}})
    misshapen = [name for name in both if wanted[name] != stored[name].shape]
    whole = [name for name in both if constants[name].element.whole]
    not_float = [name for name in both if name not in whole and stored[name].dtype not in _FLOATS]
    other = [name for name in whole if stored[name].dtype != _INTEGERS[constants[name].element]]
    return [
        *_listed("missing", missing, lambda n: f": {n} ({_dims(wanted[n])}){renamed(n, extra)}"),
        *_listed("left over", extra, lambda n: f": {n} ({found[n]}){renamed(n, missing)}"),
        *_listed("shape", misshapen, lambda n: f" of {n}: the net has {_dims(wanted[n])}, the file {found[n]}"),
        *_listed("type", not_float, lambda n: f" of {n}: {stored[n].dtype} is not a floating-point type of weights"),
        *_listed("type", other, lambda n: f" of {n}: the net has {constants[n].element}, the file {stored[n].dtype}"),
    ]


def _listed(kind: str, names: Sequence[str], text: Callable[[str], str]) -> list[str]:
    more = len(names) - _MOST_NAMES
    rest = [f"  {kind}: ... and {more} more"] if more > 0 else []
    return [*(f"  {kind}{text(name)}" for name in names[:_MOST_NAMES]), *rest]


def _dims(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _nearest(shapes: Mapping[str, tuple[int, ...]], name: str, choices: Sequence[str]) -> str:
    """The most similar name of a tensor with the same shape. A tensor of another shape cannot be the one that is
    meant."""
    same = [choice for choice in choices if shapes[choice] == shapes[name]]
    close = difflib.get_close_matches(name, same, n=1, cutoff=_CLOSE)
    return f", nearest: {close[0]}" if close else ""
