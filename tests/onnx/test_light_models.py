"""The nine models of the package onnx with constant weights give the outputs that lie beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, numpy_helper  # noqa: E402
from onnx.backend.test.runner import Runner  # noqa: E402

import cnncc.contrib.onnx_backend as backend  # noqa: E402
from cnncc.frontends.onnx.network import import_onnx  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
LARGE = ("bvlc_alexnet", "vgg19", "zfnet512", "densenet121", "inception_v2")
"""Models whose weights take seconds to make and to pack."""
LONG = (*LARGE, "inception_v1", "resnet50")
"""Models that take long to compile and to run; the zoo has both."""
MOST_LINES = {
    "bvlc_alexnet": 15, "densenet121": 30, "inception_v1": 120, "inception_v2": 40, "resnet50": 20, "shufflenet": 25,
    "squeezenet": 25, "vgg19": 20, "zfnet512": 15,
}  # fmt: skip


def names(slow: tuple[str, ...]) -> list[Any]:
    return [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in MOST_LINES]


def test_these_are_all() -> None:
    assert {p.stem.removeprefix("light_") for p in LIGHT.glob("*.onnx")} == set(MOST_LINES)


@pytest.mark.parametrize("name", names(LONG))
def test_expected_output(name: str) -> None:
    """Input and comparison as in onnx's own runner."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    given = {t.name for t in model.graph.initializer}
    inputs = [Runner.generate_dummy_data(port) for port in model.graph.input if port.name not in given]
    expected = TensorProto.FromString((LIGHT / f"light_{name}_output_0.pb").read_bytes())
    got = backend.prepare(model).run(inputs)
    Runner.assert_similar_outputs([numpy_helper.to_array(expected)], got, rtol=1e-3, atol=1e-5)
    assert np.isfinite(got[0]).all()


@pytest.mark.parametrize("name", names(LARGE))
def test_the_text_is_short(name: str) -> None:
    network = import_onnx(LIGHT / f"light_{name}.onnx")
    assert len(network.text.splitlines()) <= MOST_LINES[name]


def test_inception_modules_are_blocks() -> None:
    lines = import_onnx(LIGHT / "light_inception_v1.onnx").text.splitlines()
    assert "block inception(c, d, e, f, h, i) {" in lines
    assert "inception_3a: inception(64, 96, 128, 16, 32, 32)" in lines
    assert sum("inception(" in line for line in lines) == 10


def test_shortcuts_are_projections_where_they_have_to_be() -> None:
    text = import_onnx(LIGHT / "light_resnet50.onnx").text
    assert "proj 1x1 4*c /s bn" in text
    assert "res4: res(256) x5" in text


def test_shuffles_have_their_name() -> None:
    assert "shuffle 4" in import_onnx(LIGHT / "light_shufflenet.onnx").text
