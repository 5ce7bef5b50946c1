"""Networks by what a user calls them: a text, a file, a name of the zoo, or an ONNX model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cnncc.locate import find_net, find_weights

if TYPE_CHECKING:
    from cnncc.ir import Graph


def is_onnx(source: str | os.PathLike[str]) -> bool:
    """Whether a source is an ONNX model, by the end of its name."""
    return "\n" not in os.fspath(source) and Path(source).suffix == ".onnx"


def exists(source: str | os.PathLike[str]) -> bool:
    """Whether there is a file for what a user called a network."""
    return Path(find_net(source)).is_file()


def read(source: str | os.PathLike[str]) -> Graph:
    """The graph of a network; only that of an ONNX model has weights. CnnccError for whatever is wrong with it."""
    if is_onnx(source):
        from cnncc.frontends.net_of_onnx import import_onnx

        return import_onnx(source).graph
    from cnncc import lang

    return lang.read(find_net(source))


def read_bound(
    source: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None, seed: int = 0
) -> tuple[Graph, str | None]:
    """The graph of a network with weights, and the file they are from, None if they are drawn from `seed`: from
    `weights`, else from the ONNX model itself or the file beside the network. CnnccError for what does not fit."""
    from cnncc import weights as weight_files

    graph = read(source)
    if is_onnx(source) and weights is None:
        return graph, os.fspath(source)
    path = find_weights(source, weights)
    return weight_files.bind(graph, path, seed=seed), path
