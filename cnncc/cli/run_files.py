"""Files of `cnncc run`: which of them make up an image, folders of them, and arrays of them, read ahead."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cnncc.base.errors import CnnccError
from cnncc.cli import command

if TYPE_CHECKING:
    import numpy as np

    from cnncc.runtime.arrays import Port
    from cnncc.runtime.model import Model

READERS = 4
"""Threads that decode; more than the network leaves idle help nobody."""

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class InputFiles:
    """What the user named: a file for each input of the network. Of a folder, files that cannot be read are told and
    left out; any other one is an error."""

    files: tuple[str, ...]
    from_folder: bool = False


@dataclass
class Portion:
    """Images that are run at once: the names of the files of each, and an array for each input."""

    names: list[tuple[str, ...]] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)


def check_there(given: Sequence[str]) -> None:
    """CnnccError if there is nothing at one of the paths: said before a network is compiled for them."""
    for name in given:
        if not os.path.exists(name):
            raise CnnccError(f"{name}: no such file or folder")


def find(given: Sequence[str], inputs: int) -> list[InputFiles]:
    """The sources that the arguments name; the images of a folder in the order of their paths."""
    if any(os.path.isdir(name) for name in given):
        if inputs > 1:
            raise CnnccError(f"a folder is for networks of one input, this one has {inputs}")
        return [
            source for name in given for source in (_folder(name) if os.path.isdir(name) else [InputFiles((name,))])
        ]
    if len(given) % inputs:
        hint = "give one file for each input of each image"
        raise CnnccError(f"the network takes {inputs} inputs, got {len(given)}", hint=hint)
    return [InputFiles(tuple(given[i : i + inputs])) for i in range(0, len(given), inputs)]


def _folder(name: str) -> list[InputFiles]:
    """Every image file and array below a folder."""
    from cnncc.pictures.images import suffixes

    known = suffixes()
    files = (p for p in Path(name).rglob("*") if p.suffix.lower() in known and p.is_file())
    found = [InputFiles((str(path),), from_folder=True) for path in sorted(files)]
    if not found:
        raise CnnccError(f"{name}: no images in this folder", hint="PNG, JPEG and the like are images, and .npy arrays")
    return found


@dataclass
class Unreadable:
    """Files of folders that cannot be read: each is told at once, and how many there were at the end."""

    errors: list[CnnccError] = field(default_factory=list)

    def tell(self, error: CnnccError) -> None:
        """Says what is wrong with one."""
        self.errors.append(error)
        print(f"cnncc: {error}", file=sys.stderr)

    def exit_code(self, files: int) -> int:
        """Says how many of so many files could not be read; the exit code that this gives."""
        if not self.errors:
            return command.EXIT_OK
        plural = "" if files == 1 else "s"
        print(f"cnncc: {len(self.errors)} of {files} file{plural} could not be read", file=sys.stderr)
        return command.EXIT_BAD_INPUT


@dataclass(frozen=True)
class InputPort:
    """An input of a network, as its module describes it and as its model has it."""

    about: dict[str, Any]
    """For a range of sizes, with the shape of the size in the middle: pictures become images of that."""
    port: Port
    ranged: bool

    def for_file(self, file: str) -> InputPort:
        """The input for the file: for a range of sizes, of the size of its array, which the model then checks."""
        if not (self.ranged and file.endswith(".npy")):
            return self
        from cnncc.pictures import images

        shape = images.read_array(Path(file)).shape
        known, declared = self.port.shape[1:], self.port.declared
        if len(shape) not in (len(known), len(known) + 1):
            return self
        dims = shape[-len(known) :]
        if any(isinstance(size, int) and size != given for size, given in zip(known, dims, strict=True)):
            return self
        own = (self.port.shape[0], *dims)
        port = replace(self.port, shape=own, declared=declared and replace(declared, shape=shape))
        return InputPort({**self.about, "shape": list(own)}, port, self.ranged)


Ports = Sequence[InputPort]


def ports_of(model: Model) -> Ports:
    """The inputs of a model."""
    middle = model.info.get("middle")
    if middle is None:
        return [InputPort(about, port, False) for about, port in zip(model.info["inputs"], model.inputs, strict=True)]
    return [
        InputPort({**about, "shape": list(port.at(middle).shape)}, port, True)
        for about, port in zip(model.info["inputs"], model.inputs, strict=True)
    ]


def portions(
    sources: Sequence[InputFiles], ports: Ports, batch: int, failed: Callable[[CnnccError], None]
) -> Iterator[Portion]:
    """The images of all sources in order, at least a whole batch of one size at a time but for the last of it; `failed`
    hears of the files of folders that cannot be read."""
    parts: list[tuple[InputFiles, list[np.ndarray]]] = []
    for source, future in ahead(lambda source: _arrays(source, ports), sources, max(READERS, 2 * batch)):
        try:
            arrays = future.result()
            if parts and _shapes(arrays) != _shapes(parts[0][1]):
                yield _joined(parts)
                parts = []
            parts.append((source, arrays))
        except CnnccError as error:
            if not source.from_folder:
                raise
            failed(error)
        if sum(len(arrays[0]) for _, arrays in parts) >= batch:
            yield _joined(parts)
            parts = []
    if parts:
        yield _joined(parts)


def _shapes(arrays: Sequence[np.ndarray]) -> list[tuple[int, ...]]:
    """Of one image."""
    return [array.shape[1:] for array in arrays]


def ahead(make: Callable[[Item], Made], items: Iterable[Item], depth: int) -> Iterator[tuple[Item, Future[Made]]]:
    """Each item with what is made of it in other threads, which are never more than `depth` items ahead."""
    waiting: deque[tuple[Item, Future[Made]]] = deque()
    with ThreadPoolExecutor(READERS) as pool:
        for item in items:
            waiting.append((item, pool.submit(make, item)))
            if len(waiting) >= depth:
                yield waiting.popleft()
        yield from waiting


def _arrays(source: InputFiles, ports: Ports) -> list[np.ndarray]:
    arrays = [_array(file, port.for_file(file)) for file, port in zip(source.files, ports, strict=True)]
    if len({len(array) for array in arrays}) > 1:
        counts = ", ".join(f"{file} {len(array)}" for file, array in zip(source.files, arrays, strict=True))
        raise CnnccError(f"the inputs of a run hold different numbers of images: {counts}")
    return arrays


def _array(file: str, given: InputPort) -> np.ndarray:
    """A file as an input. Arrays as the network's own file declares it are no pixels, whatever their type."""
    from cnncc.pictures import images

    about, port = given.about, given.port
    if port.declared and port.differs and file.endswith(".npy"):
        array = port.declared.to_ours(images.read_array(Path(file)), port.shape[1:], port.numpy)
        if array.dtype == port.numpy and array.shape[1:] == port.shape[1:]:
            return array
    try:
        return images.prepare(file, about)
    except CnnccError as error:
        if file.endswith(".npy") and not error.hint:
            error.hint = "--shape compiles a network for other sizes, and names one of a module for several"
        raise


def _joined(parts: Sequence[tuple[InputFiles, list[np.ndarray]]]) -> Portion:
    """Of one file with several images each gets a number."""
    import numpy as np

    portion = Portion()
    for source, (first, *_) in parts:
        single = len(first) == 1
        portion.names += [source.files if single else _numbered(source.files, i) for i in range(len(first))]
    columns = zip(*(arrays for _, arrays in parts), strict=True)
    portion.arrays = [np.concatenate(column) if len(column) > 1 else column[0] for column in columns]
    return portion


def _numbered(files: Sequence[str], i: int) -> tuple[str, ...]:
    return tuple(f"{file}[{i}]" for file in files)
