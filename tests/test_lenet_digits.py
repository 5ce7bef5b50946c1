"""LeNet-5 with its trained weights on the thousand digits kept from training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnncc
from cnncc import api, lang, passes, weights
from cnncc.base import resources
from cnncc.calibrate import quantize
from cnncc.ir import Graph
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.pictures import images

MODELS = resources.directory("models")
DIGITS = Path(__file__).parent.parent / "examples" / "digits"
BATCH = 50


@pytest.fixture(scope="module")
def graph() -> Graph:
    return weights.bind(lang.read(MODELS / "lenet5.net"), MODELS / "lenet5.safetensors")


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    with np.load(Path(__file__).parent / "data" / "mnist_heldout_1000.npz") as data:
        return data["labels"]


@pytest.fixture(scope="module")
def prepared(graph) -> np.ndarray:
    """All digits as inputs of the network, (1000, 1, 32, 32), pixels of 0..255: it applies its mean and std itself."""
    dims = graph.inputs[0].attrs["dims"]
    with np.load(Path(__file__).parent / "data" / "mnist_heldout_1000.npz") as data:
        pictures = [Image.fromarray(pixels) for pixels in data["images"]]
    return np.concatenate([images.from_image(p, dims, std=(1,)) for p in pictures])


@pytest.fixture(scope="module")
def expected(graph, prepared) -> np.ndarray:
    """The reference's probabilities, (1000, 10), in float64."""
    batched = passes.with_batch(graph, BATCH)
    parts = [reference.run(batched, [x])[graph.outputs[0]] for x in prepared.reshape(-1, BATCH, 1, 32, 32)]
    return np.concatenate(parts)


def test_weights_are_small_and_fit():
    assert (MODELS / "lenet5.safetensors").stat().st_size < 300_000


def test_hundred_of_each_class(labels):
    assert np.bincount(labels).tolist() == [100] * 10


def test_reference_reads_98_percent(expected, labels):
    assert (expected.argmax(1) == labels).mean() >= 0.98


def test_compiled_module_agrees_on_every_digit(prepared, expected):
    model = cnncc.compile(MODELS / "lenet5.net", weights=MODELS / "lenet5.safetensors", batch=BATCH)
    found = np.concatenate([model(x) for x in prepared.reshape(-1, BATCH, 1, 32, 32)])
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_shipped_digits_are_the_first_of_the_held_out_ones(labels, prepared, graph):
    dims = graph.inputs[0].attrs["dims"]
    for digit in range(10):
        for row, name in zip(np.flatnonzero(labels == digit)[:2], "ab", strict=True):
            image = images.load(DIGITS / f"{digit}_{name}.png", dims, std=(1,))
            np.testing.assert_array_equal(image[0], prepared[row])
    assert len(list(DIGITS.glob("*.png"))) == 20


def test_on_bytes_it_reads_as_well(graph, prepared, labels, expected):
    """By the ranges of the twenty digits that ship, 0.2 % of a thousand at most are lost."""
    dims = graph.inputs[0].attrs["dims"]
    shipped = [images.from_image(Image.open(path), dims, std=(1,)) for path in sorted(DIGITS.glob("*.png"))]
    found = quantize(MODELS / "lenet5.net", np.concatenate(shipped))
    model = api.build(found.graph, Options(batch=BATCH)).model()
    scores = np.concatenate([model(x) for x in prepared.reshape(-1, BATCH, 1, 32, 32)])
    right, exact = ((each.argmax(1) == labels).sum() for each in (scores, expected))
    assert abs(int(right) - int(exact)) <= 2
    assert (scores.argmax(1) == expected.argmax(1)).mean() >= 0.998
