"""An ONNX file as a model with all its tensors. Nothing outside the file's folder is read."""

from __future__ import annotations

import os
import stat
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from cnncc.base.errors import CnnccError, reason
from cnncc.frontends.onnx import require_onnx
from cnncc.frontends.onnx.external import load_external
from cnncc.frontends.onnx.graph import check_text, words_of
from cnncc.frontends.onnx.tensors import one_line

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST_FILE = 1 << 31
"""Bytes: what a protobuf message cannot reach."""


def read_model(path: str | os.PathLike[str]) -> ModelProto:
    """The model of a file, with its external weights. CnnccError if it cannot be read or is none."""
    require_onnx()
    import onnx
    from google.protobuf.message import DecodeError

    file = Path(path)
    try:
        # Always as protobuf: `onnx.load` goes by the end of the name and would read texts too.
        model = onnx.load_model_from_string(contents(file))
    except DecodeError as error:
        raise CnnccError(f"{file} is no ONNX model: {one_line(error)}") from error
    if not model.graph.node:
        raise CnnccError(f"{file} is no ONNX model: it has no nodes")
    functions = (node for function in model.functions for node in function.node)
    check_text(chain([model.graph.name], *map(words_of, chain(model.graph.node, functions))))
    load_external(model, file.parent)
    return model


def contents(file: Path) -> bytes:
    """The bytes of a file or pipe, or CnnccError."""
    try:
        kind = file.stat().st_mode
        if stat.S_ISREG(kind) and file.stat().st_size >= LARGEST_FILE:
            raise CnnccError(f"{file} is no ONNX model: such files are smaller than 2 GiB")
        if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
            raise CnnccError(f"cannot read {file}: it is a device")
        with file.open("rb") as opened:
            data = opened.read(LARGEST_FILE)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise CnnccError(f"cannot read {file}: {reason(error) if isinstance(error, OSError) else error}") from error
    return data
