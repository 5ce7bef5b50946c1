"""Reads the tensors of a PyTorch checkpoint (.pth, .pt) without PyTorch, and without running any code of the pickle.

A checkpoint is a pickle that refers to storages of raw numbers. The reader knows only the few classes that a state dict
of tensors needs. It refuses all others by name.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnncc.base.elements import BFLOAT16, decode
from cnncc.base.errors import CnnccError, reason

MAGIC = 0x1950A86A20F9469CFC6C
"""The first number of a file of the format before 1.6."""
PROTOCOL = 1001
STORAGES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
"""Element types by the name of PyTorch's storage class."""
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts keep a state dict."""
LARGEST = 1 << 32
"""Most bytes that one entry of an archive may unpack to."""


@dataclass
class TorchStorage:
    """Raw numbers. They are filled in when they are read."""

    dtype: str
    count: int
    data: bytes = b""

    def array(self) -> np.ndarray:
        if self.dtype == BFLOAT16.name:
            return decode(np.frombuffer(self.data, BFLOAT16.dtype), BFLOAT16)
        return np.frombuffer(self.data, self.dtype)


@dataclass
class Tensor:
    """A view of a storage, in elements."""

    storage: TorchStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> np.ndarray:
        """A copy of the elements. ValueError if they lie outside the storage."""
        whole = self.storage.array()
        if math.prod(self.shape) == 0:
            return np.zeros(self.shape, whole.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if self.offset < 0 or any(s < 0 for s in self.stride) or last >= whole.size:
            raise ValueError("a tensor reaches outside its storage")
        steps = [s * whole.itemsize for s in self.stride]
        return np.lib.stride_tricks.as_strided(whole[self.offset :], self.shape, steps).copy()


class Unknown(pickle.UnpicklingError):
    """The pickle names a class or object that no state dict needs."""


def rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> Tensor:
    """torch._utils._rebuild_tensor_v2."""
    if not isinstance(storage, TorchStorage):
        raise Unknown("a tensor without a storage")
    return Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def parameter(data: Any, *rest: Any) -> Any:
    """torch._utils._rebuild_parameter: a tensor that was trained."""
    return data


KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild,
    ("torch._utils", "_rebuild_parameter"): parameter,
    ("torch", "Size"): tuple,
    **{("torch", name): name for name in STORAGES},
}
"""All classes and functions that a pickle may name."""


class PickleReader(pickle.Unpickler):
    """An unpickler that knows only the classes and functions of `KNOWN`."""

    def __init__(self, file: io.BufferedIOBase, storage: Callable[[str, str, int], TorchStorage]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise Unknown(f"the file names {module}.{name}, which no state dict of tensors needs")
        return KNOWN[module, name]

    def persistent_load(self, pid: Any) -> TorchStorage:
        """('storage', class, key, device, number of elements, view)."""
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and pid[1] in STORAGES):
            raise Unknown("the file refers to something that is no storage of numbers")
        if len(pid) > 5 and pid[5] is not None:
            raise Unknown("the file has views of storages, as PyTorch before 0.4 wrote them")
        return self.storage(str(pid[1]), str(pid[2]), int(pid[4]))


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by name, in the order of the file. CnnccError if the file cannot be read, or if it
    holds something else than a state dict of tensors."""
    file = Path(path)
    try:
        with file.open("rb") as opened:
            found = archive(opened) if zipfile.is_zipfile(opened) else legacy(opened)
        return state_dict(found)
    except OSError as error:
        raise CnnccError(f"cannot read weights from {file}: {reason(error)}") from error
    except Unknown as error:
        hint = "only state dicts are read: torch.save(model.state_dict(), ...), or convert the file to safetensors"
        raise CnnccError(f"{file} is refused: {error}", hint=hint) from error
    except BROKEN as error:
        raise CnnccError(f"{file} is no PyTorch checkpoint, or a damaged one: {error}") from error


BROKEN = (
    *(
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        EOFError,
    ),
    *(MemoryError, OverflowError, RecursionError, ImportError),
)
"""What the standard library raises for damaged data."""


def archive(file: Any) -> Any:
    """The format since 1.6: a zip of `data.pkl` and one file for each storage."""
    with zipfile.ZipFile(file) as zipped:
        (pickled,) = [name for name in zipped.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        folder = pickled.removesuffix("data.pkl")
        known: dict[str, TorchStorage] = {}

        def storage(kind: str, key: str, count: int) -> TorchStorage:
            if key not in known:
                known[key] = TorchStorage(STORAGES[kind], count, entry(zipped, f"{folder}data/{key}"))
            return known[key]

        return PickleReader(io.BytesIO(entry(zipped, pickled)), storage).load()


def entry(zipped: zipfile.ZipFile, name: str) -> bytes:
    if zipped.getinfo(name).file_size > LARGEST:
        raise ValueError(f"{name} unpacks to too many bytes")
    return zipped.read(name)


def legacy(file: Any) -> Any:
    """The format before 1.6: magic number, protocol, system, objects, keys of the storages, then each storage with its
    length."""
    file.seek(0)
    storages: dict[str, TorchStorage] = {}

    def storage(kind: str, key: str, count: int) -> TorchStorage:
        return storages.setdefault(key, TorchStorage(STORAGES[kind], count))

    def load() -> Any:
        return PickleReader(file, storage).load()

    if load() != MAGIC or load() != PROTOCOL:
        raise ValueError("it does not begin as one")
    load()
    found, keys = load(), load()
    for key in keys:
        count = int.from_bytes(file.read(8), "little", signed=True)
        stored = storages[str(key)]
        size = BFLOAT16.itemsize if stored.dtype == BFLOAT16.name else np.dtype(stored.dtype).itemsize
        if count != stored.count:
            raise ValueError(f"storage {key} has {count} elements, {stored.count} expected")
        stored.data = file.read(count * size)
        if len(stored.data) != count * size:
            raise ValueError("it ends too early")
    return found


def state_dict(found: Any) -> dict[str, np.ndarray]:
    """The tensors of a state dict. Training scripts may have put it into another dict, under a key of `WRAPPERS`."""
    if not isinstance(found, dict):
        raise Unknown(f"the file holds a {type(found).__name__}, no state dict")
    if not any(isinstance(value, Tensor) for value in found.values()):
        inner = [found[key] for key in WRAPPERS if isinstance(found.get(key), dict)]
        if not inner:
            raise Unknown("the file holds no tensors by name")
        return state_dict(inner[0])
    return {str(name): value.array() for name, value in found.items() if isinstance(value, Tensor)}
