"""Networks of the zoo that ONNX Runtime's own tool quantised, in all its forms: every layer on bytes, and its answers.

Weights have half their range beside uint8: with larger ones ONNX Runtime's sums saturate on processors without VNNI.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from quantised_models import F32, ours, runtime

from cnncc import lang, weights
from cnncc.base import resources
from cnncc.contrib.onnx_backend import CompiledModel
from cnncc.frontends.onnx.export import write_onnx
from cnncc.frontends.onnx.reader import from_onnx

SLOW = pytest.mark.slow
NAMES = (pytest.param("mobilenet_v2", marks=SLOW), "squeezenet1_1")
SIZE = 48
LAYERS = {"mobilenet_v2": {"qconv": 52, "qadd": 10, "qgap": 1, "qfc": 1}, "squeezenet1_1": {"qconv": 26, "qgap": 1}}
MOST_STEPS = {"mobilenet_v2": 2, "squeezenet1_1": 0}
"""Between the last values: ONNX Runtime rounds some sums otherwise, which a few layers later is another byte."""
NEAR = 0.1
"""Share of the length of the last value where it leaves some convolutions in float32, which round otherwise: those of
QDQ models of int8."""


class Images(CalibrationDataReader):
    """Three images of noise."""

    def __init__(self, name: str) -> None:
        rng = np.random.default_rng(0)
        self.given = iter([{name: rng.uniform(0, 255, (1, 3, SIZE, SIZE)).astype(F32)} for _ in range(3)])

    def get_next(self):
        return next(self.given, None)


@pytest.fixture(scope="module", params=NAMES)
def prepared(request, tmp_path_factory) -> tuple[str, Path]:
    """A network with small images and without softmax, exported and made ready for the tool."""
    name, folder = request.param, tmp_path_factory.mktemp("quantised")
    text = (resources.directory("models") / f"{name}.net").read_text(encoding="utf-8")
    for side in (224, 227):
        text = text.replace(f"3x{side}x{side}", f"3x{SIZE}x{SIZE}")
    graph = weights.bind(lang.parse(text.replace(" softmax", "")), seed=1)
    write_onnx(graph, folder / "plain.onnx")
    logging.disable(logging.WARNING)
    quant_pre_process(str(folder / "plain.onnx"), str(folder / "prepared.onnx"), skip_symbolic_shape=True)
    logging.disable(logging.NOTSET)
    return name, folder / "prepared.onnx"


def quantised(source: Path, form: QuantFormat, per_channel: bool, kind: QuantType) -> onnx.ModelProto:
    """The model that the tool makes."""
    target = source.with_name("quantised.onnx")
    (port,) = onnx.load(source).graph.input
    settings = {"activation_type": kind, "weight_type": QuantType.QInt8, "reduce_range": kind == QuantType.QUInt8}
    logging.disable(logging.WARNING)
    quantize_static(source, target, Images(port.name), form, per_channel=per_channel, **settings)
    logging.disable(logging.NOTSET)
    return onnx.load(target)


@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8])
@pytest.mark.parametrize("per_channel", [True, pytest.param(False, marks=SLOW)])
@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_every_layer_is_on_bytes(prepared, form, per_channel, kind):
    name, source = prepared
    model = quantised(source, form, per_channel, kind)
    imported = from_onnx(model, strict=True)
    ops = [node.op for node in imported.graph.nodes]
    assert {op: ops.count(op) for op in LAYERS[name]} == LAYERS[name]
    assert imported.notes == ()
    inputs = {model.graph.input[0].name: np.random.default_rng(7).uniform(0, 255, (1, 3, SIZE, SIZE)).astype(F32)}
    (got,), (want,) = ours(imported, inputs), runtime(model, inputs)
    error = got.astype(np.float64) - want
    if form == QuantFormat.QDQ and kind == QuantType.QInt8:
        assert np.linalg.norm(error) <= NEAR * np.linalg.norm(want)
    else:
        step = np.diff(np.unique(np.rint(want * 1e4) / 1e4)).min()
        assert np.abs(error).max() <= (MOST_STEPS[name] + 0.01) * step


def test_a_compiled_network_is_the_definition(prepared):
    _, source = prepared
    model = quantised(source, QuantFormat.QDQ, True, QuantType.QUInt8)
    inputs = {model.graph.input[0].name: np.random.default_rng(7).uniform(0, 255, (1, 3, SIZE, SIZE)).astype(F32)}
    imported = from_onnx(model, strict=True)
    np.testing.assert_array_equal(CompiledModel(imported).run(inputs)[0], ours(imported, inputs)[0])
