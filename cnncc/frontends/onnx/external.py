"""Tensors of an ONNX model that lie in files beside it. A file is read only if it is a regular one in the model's
folder, whatever the path in the model and links on the way say."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cnncc.base.errors import CnnccError, reason
from cnncc.frontends.onnx.tensors import bytes_of, shown
from cnncc.frontends.onnx.values import Unsupported

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

SHARED = 4
"""Times that the bytes of a file may be read: tensors may share data, but a few bytes shall not fill the memory."""

FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW
"""A pipe would keep `open` waiting; a link that takes the file's place after the check is not followed."""


def load_external(model: ModelProto, folder: Path) -> None:
    """Puts the data of external tensors into the model. CnnccError for a path that leads out of the folder, for what
    is no regular file, and for data beyond the end of one."""
    sizes: dict[Path, int] = {}
    total = 0
    for tensor in tensors_of(model):
        if not is_external(tensor):
            continue
        try:
            data, path, size = read_part(tensor, folder)
        except Unsupported as error:
            raise CnnccError(f"tensor {shown(tensor.name)}: {error.message}") from error
        sizes[path] = size
        total += len(data)
        if total > SHARED * sum(sizes.values()):
            raise CnnccError(f"tensor {shown(tensor.name)}: the model reads {SHARED} times what its data files hold")
        tensor.raw_data = data
        del tensor.external_data[:]
        tensor.ClearField("data_location")


def is_external(tensor: TensorProto) -> bool:
    from onnx import TensorProto

    return tensor.data_location == TensorProto.EXTERNAL


def tensors_of(model: ModelProto) -> Iterator[TensorProto]:
    """Every dense tensor of a model, of its functions and of the graphs inside nodes."""
    yield from in_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from in_node(node)


def in_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from in_node(node)


def in_node(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from in_graph(graph)


def read_part(tensor: TensorProto, folder: Path) -> tuple[bytes, Path, int]:
    """The bytes of a tensor, the file they are from, and its size."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = inside(entries.get("location", ""), folder)
    offset, wanted = number(entries, "offset", 0), bytes_of(tensor)
    length = number(entries, "length", wanted)
    if length != wanted:
        raise Unsupported(f"its shape and type need {wanted} bytes, its length says {length}")
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | FLAGS)) as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise Unsupported(f"its data {shown(path.name)} is no regular file")
            if offset + wanted > state.st_size:
                what = f"bytes {offset} to {offset + wanted} of {shown(path.name)}"
                raise Unsupported(f"its data would be {what}, which has {state.st_size}")
            file.seek(offset)
            return file.read(wanted), path, state.st_size
    except OSError as error:
        raise Unsupported(f"cannot read its data {shown(path.name)}: {reason(error)}") from error


def inside(location: str | bytes, folder: Path) -> Path:
    """The file in the folder that a location names, its links followed. Unsupported if it leads elsewhere."""
    if not isinstance(location, str) or not location or "\0" in location:
        raise Unsupported(f"its data has no file: {shown(location)}")
    if os.path.isabs(location) or ".." in Path(location).parts:
        raise Unsupported(f"its data lies outside the model's folder: {shown(location)}")
    try:
        root, path = folder.resolve(strict=True), (folder / location).resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise Unsupported(f"cannot read its data {shown(location)}") from error
    if not path.is_relative_to(root):
        raise Unsupported(f"its data lies outside the model's folder: {shown(location)} is a link to elsewhere")
    return path


def number(entries: dict[str, str], key: str, default: int) -> int:
    """A whole number of at least 0 that stands as a text."""
    text = entries.get(key, str(default))
    if not isinstance(text, str) or not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Unsupported(f"its {key}: expected a whole number of at least 0, got {shown(text)}")
    return int(text)
