"""A module as a function of images that travels to the workers of a cluster: as the path and the hash of its file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cnncc.base.elements import ELEMENTS
from cnncc.base.errors import CnnccError
from cnncc.pictures import images
from cnncc.runtime.arrays import text
from cnncc.runtime.load import read_info, reopen
from cnncc.runtime.model import Model
from cnncc.runtime.origin import sha256


@dataclass(frozen=True)
class Predictor:
    """A function from images to results that can be pickled, made by `ship`.

    The pickle holds the path and the hash of the module. A process opens the module at its first call, once, and
    refuses a file with another hash."""

    path: str
    """The absolute path of the module; every worker needs the file there."""
    sha256: str
    """The hash of the module's file, in hexadecimal digits."""
    threads: int = 1
    """How many threads each call uses. It is 1 by default because clusters start one worker for each processor."""

    @property
    def info(self) -> dict[str, Any]:
        """What the module says of itself. It is read from the file; no code of the module runs."""
        return read_info(self.path)

    @property
    def model(self) -> Model:
        """The module, opened in this process. Raises CnnccError if it is not the file that was shipped."""
        return _opened(self.path, self.sha256, self.threads)

    def __call__(self, *columns: Any) -> list[np.ndarray]:
        """Runs the module on n images and returns one array of n results for each output.

        There is one column for each input: an array of shape (n, ...), or a sequence of n arrays, paths or bytes of
        image files. n may be any number. Image files, and pixels of uint8, are prepared as
        the network's text says; arrays of floats are taken as they are.

        Raises CnnccError if the number of columns, a shape or a type is wrong, or a file cannot be read."""
        model = self.model
        if len(columns) != len(model.inputs):
            raise CnnccError(f"{model.name} takes {len(model.inputs)} columns, got {len(columns)}")
        arrays = [as_input(column, port) for column, port in zip(columns, model.info["inputs"], strict=True)]
        results = model.run_many(*arrays)
        return list(results) if isinstance(results, tuple) else [results]


def ship(module: str | os.PathLike[str], threads: int = 1) -> Predictor:
    """A predictor for the module at a path, which workers will open there.

    `threads` is how many threads each call uses, 1 to the number that the module was compiled for. Raises CnnccError if
    there is no module at the path, or `threads` is out of range."""
    whole = Path(module).resolve()
    info = read_info(whole)
    if len(info.get("sizes", ())) > 1:
        raise CnnccError(f"{module} is for several sizes of inputs", hint="compile a module for the one that is wanted")
    if "ranges" in info:
        raise CnnccError(f"{module} is for a range of sizes", hint="compile a module for the one that is wanted")
    most = info["threads"]
    if not 1 <= threads <= most:
        raise CnnccError(f"{module} was compiled for 1 to {most} threads, got {threads}")
    return Predictor(str(whole), sha256(whole), threads)


@lru_cache(maxsize=16)
def _opened(path: str, digest: str, threads: int) -> Model:
    return reopen(path, digest, threads)


def as_input(column: Any, port: dict[str, Any]) -> np.ndarray:
    """An array of the port's type and shape but for the number of images. Files, and pixels of uint8, are prepared as
    the network's text says; arrays of floats are taken as they are, and have the input's shape or are flat."""
    if not (isinstance(column, np.ndarray) and column.dtype != np.object_ and column.dtype.kind not in "TUS"):
        values = [_one(value, port) for value in column]
        return np.concatenate(values) if values else np.empty((0, *port["shape"][1:]), kind_of(port))
    return _shaped(column, port)


def kind_of(port: dict[str, Any]) -> np.dtype:
    """The type of the arrays of an input or output."""
    return ELEMENTS[port.get("dtype", "float32")].dtype


def _one(value: Any, port: dict[str, Any]) -> np.ndarray:
    if isinstance(value, str | bytes | os.PathLike):
        return images.prepare(value, port)
    return _shaped(np.asarray(value)[np.newaxis], port)


def _shaped(array: np.ndarray, port: dict[str, Any]) -> np.ndarray:
    dims: Sequence[int] = port["shape"][1:]
    if array.shape[1:] != tuple(dims) and array[:1].size != np.prod(dims) * len(array[:1]):
        raise CnnccError(
            f"input {port['name']!r} takes images of {text(dims)}, got {text(array.shape[1:])}",
            hint="images of any size come as files: paths, or the bytes of each",
        )
    shaped = array.reshape(len(array), *dims)
    if kind_of(port) != np.float32 and shaped.dtype != kind_of(port):
        raise CnnccError(f"input {port['name']!r} takes {port['dtype']}, as {kind_of(port)}, got {shaped.dtype}")
    if kind_of(port) != np.float32:
        return np.ascontiguousarray(shaped)
    if shaped.dtype == np.uint8:
        return images.pixels(shaped, port)
    if shaped.dtype.kind != "f":
        raise CnnccError(f"input {port['name']!r} takes floats, or pixels of uint8, got {shaped.dtype}")
    return np.ascontiguousarray(shaped, dtype=np.float32)
