"""Checkpoints of other tools: their tensors, under other names, become the constants of a graph."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from cnncc import weights
from cnncc.base.errors import CnnccError, warn
from cnncc.ir import Constant, Graph
from cnncc.weights import torch_file
from cnncc.weights.folded_norms import EPS, folded, pairs_by_name, pairs_by_place

MAPS = ("names", "torchvision", "order")
"""How tensors are assigned to constants. `names`: by the names of the graph. The others go layer by layer:
`torchvision` in the order of a forward run, which follows from the names in that library's models; `order` in the order
of the file."""
COUNTER = re.compile(r"(^|\.)num_batches_tracked$")
UNUSED = re.compile(rf"{COUNTER.pattern}|^(aux|AuxLogits)\w*\.")
"""Tensors that inference does not use: counters, and heads that exist in training only."""
FUSED = re.compile(r"\.(norm|conv)\.(\d)(?=\.)")
"""DenseNet's layers in files from before 2018: norm.1 for norm1."""
BARE = re.compile(r"\.layer_scale$")
"""ConvNeXt's factors, which have no layer of their own: here they are the weight of one."""
PARTS = re.compile(r"[.-]")
"""What stands between the parts of a name: block1-0 in RegNet."""
PART = re.compile(r"([A-Za-z_]*)(?:(\d+)([a-z]?))?")
"""A part of a module's name: conv1, inception3a, 0."""
LAST = 99

Shapes = Mapping[str, tuple[int, ...]]


def bind(graph: Graph, path: str | os.PathLike[str], names: str = "names", eps: float = EPS) -> Graph:
    """The graph with the weights of a checkpoint (.safetensors, .pth or .npz). `names` is one of `MAPS`.

    Where the graph has a layer with a bias and the checkpoint a layer and a batch norm, the norm is folded into the
    layer, with `eps` added to its variance; a warning says so. CnnccError if the file cannot be read, or if its tensors
    are not those of the graph. One error lists all differences."""
    tensors = _without_norms(graph, read(path), path, names, eps)
    if names != "names":
        tensors = renamed(graph, tensors, path, names == "torchvision")
    weights.refuse_mismatches(graph, tensors, path)
    elements = {name: constant.element for name, constant in graph.constants.items()}
    stored = {
        name: Constant(array.shape, partial(weights.as_constant, array, elements[name]), elements[name])
        for name, array in tensors.items()
    }
    return graph.rebuild(graph.nodes, constants=stored)


def _without_norms(
    graph: Graph, tensors: Mapping[str, np.ndarray], path: str | os.PathLike[str], names: str, eps: float
) -> dict[str, np.ndarray]:
    """The tensors with the batch norms that the graph does not have inside the layers before them."""
    tensors = {name: array for name, array in tensors.items() if name in graph.constants or not COUNTER.search(name)}
    theirs = layers(tensors, by_name=names != "order")
    find = pairs_by_name if names == "names" else pairs_by_place
    pairs = list(find(graph, theirs, tensors))
    if pairs:
        what = "1 batch norm" if len(pairs) == 1 else f"{len(pairs)} batch norms"
        warn(
            f"{what} of {os.fspath(path)} folded into the layers before, as {graph.name} has them, with eps {eps:g}, "
            "which the file does not say; `cnncc weights --eps` takes another"
        )
    return folded(tensors, pairs, eps)


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether `read` should be used for a file, and not safetensors: it takes the file, or refuses it with a good
    message. The first bytes of the file decide. False for a file that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(8)
    except OSError:
        return False
    return start.startswith((ZIP, PICKLE, HDF5)) or Path(path).suffix in (*TORCH, ".h5", ".keras")


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint (safetensors, PyTorch's or .npz) by name; those of floating point as float32."""
    file = Path(path)
    if file.suffix in (".h5", ".keras") or _starts_with(file, HDF5):
        hint = "convert the model: python -m tf2onnx.convert --keras MODEL --output model.onnx; cnncc import model.onnx"
        raise CnnccError(f"{file} is a file of Keras", hint=hint)
    if _is_npz(file):
        found = _arrays(file)
    elif file.suffix in TORCH or is_checkpoint(file):
        found = torch_file.read(path)
    else:
        found = weights.load(path)
    return {n: a.astype(np.float32, copy=False) if a.dtype.kind == "f" else a for n, a in found.items()}


ZIP, PICKLE, HDF5 = b"PK\3\4", b"\x80\2\x8a\nl\xfc", b"\x89HDF"
"""How files begin: archives of NumPy and of PyTorch since 1.6, files of PyTorch before 1.6, files of Keras."""
TORCH = (".pth", ".pt", ".ckpt", ".bin")


def _starts_with(file: Path, magic: bytes) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(magic)) == magic
    except OSError:
        return False


def _is_npz(file: Path) -> bool:
    """Whether a file is an archive of arrays."""
    if not _starts_with(file, ZIP):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _arrays(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CnnccError(f"{file} is a damaged archive of arrays: {error}") from error


def renamed(
    graph: Graph, tensors: Mapping[str, np.ndarray], path: str | os.PathLike[str], by_name: bool
) -> dict[str, np.ndarray]:
    """The tensors under the graph's names. The first layer of the model is the first layer of the graph, and so on."""
    theirs = layers(tensors, by_name)
    ours = [node for node in graph.nodes if node.weights]
    kinds = [(sorted(node.weights), [graph.constants[c].shape for c in node.weights.values()]) for node in ours]
    for i, (node, (module, slots)) in enumerate(zip(ours, theirs, strict=False)):
        if sorted(slots) != kinds[i][0]:
            have, want = ", ".join(sorted(slots)), ", ".join(kinds[i][0])
            hint = "the layers are compared in the order of a forward run; `cnncc weights NET` lists the network's"
            raise CnnccError(
                f"{os.fspath(path)} is of another network than {graph.name}: layer {i + 1} is {module} with {have}, "
                f"{node.name} wants {want}",
                hint=hint,
            )
    result: dict[str, np.ndarray] = {}
    for node, (_, slots) in zip(ours, theirs, strict=False):
        for slot, name in slots.items():
            result[node.weights[slot]] = fitted(tensors[name], graph.constants[node.weights[slot]].shape)
    for module, slots in theirs[len(ours) :]:
        result |= {f"{module}.{slot}": tensors[name] for slot, name in slots.items()}
    return result


def fitted(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array in that shape if it differs in sides of 1 only: a linear layer over channels is a 1x1 convolution."""
    alike = [n for n in array.shape if n != 1] == [n for n in shape if n != 1]
    return array.reshape(shape) if alike else array


def layers(names: Mapping[str, object] | Sequence[str], by_name: bool = True) -> list[tuple[str, dict[str, str]]]:
    """The modules of a model, each with its tensors by slot. With `by_name` they are in the order of a forward run,
    which follows from the names of torchvision's models; else in the given order."""
    ordered = [(plain(name), name) for name in names if not UNUSED.search(name)]
    if by_name:
        ordered.sort(key=lambda pair: [rank(token) for token in PARTS.split(pair[0])[:-1]])
    modules = groupby(ordered, key=lambda pair: pair[0].rpartition(".")[0])
    return [(module, {new.rpartition(".")[2]: old for new, old in pairs}) for module, pairs in modules]


def plain(name: str) -> str:
    """A tensor's name as that of a slot of a layer."""
    return BARE.sub(r"\g<0>.weight", FUSED.sub(r".\1\2", name))


def rank(token: str) -> tuple[int, str, int]:
    """A sort key for a part of a module's name, among the parts with the same parent."""
    if token.startswith("expand"):  # expand1x1, expand3x3
        return int(token[6:7] or 0) + 1, "", 0
    parts = PART.fullmatch(token)
    if parts is None:
        return LAST - 1, token, 0
    word, place, letter = parts[1], int(parts[2] or 0), parts[3] or ""
    if word in FIXED:
        return FIXED[word], "", place
    if word in ("conv", "norm", "bn"):
        # conv1, bn1; but norm1, conv1 in DenseNet, whose first ones are conv0, norm0
        first = {"conv": 1, "norm": 0, "bn": 2} if place or token == word or word == "norm" else {"conv": -1}
        return place, "", first.get(word, 0)
    if word in ("denseblock", "transition"):
        return place, "", 3 + (word == "transition")
    return place + LATE.get(word, 0), letter, 0


FIXED = {
    **{"features": 0, "squeeze": 0, "downsample": 50, "classifier": LAST, "fc": LAST},
    **{"a": 0, "b": 1, "se": 2, "c": 3, "proj": 50},  # RegNet
    **{"layer_scale": 50, "project": 50},  # ConvNeXt, DeepLab
}
"""The places of words that stand for one part of a model, or for the parts of a block."""
LATE = {"layer": 10, "inception": 10}
