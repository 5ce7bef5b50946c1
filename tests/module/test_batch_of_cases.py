"""Two images at a time give what each gives alone, for every case of `tests/data/cases`."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("onnx")
from cases import CASES, Case

import cnncc
from cnncc import api, lang, weights
from cnncc.base.errors import CnnccError
from cnncc.options import Options
from cnncc.runtime.model import Model


def compiled(case: Case, batch: int) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cnncc.compile(case.model, batch=batch, threads=1)


def results(model: Model, arrays: list[np.ndarray]) -> list[np.ndarray]:
    found = model(*arrays)
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if not case.shapes])
def test_two_images_are_each_alone(name: str) -> None:
    try:
        one = compiled(CASES[name], 1)
    except CnnccError as error:
        pytest.skip(error.message.splitlines()[-1])
    two = compiled(CASES[name], 2)
    rng = np.random.default_rng(5)
    images = [[rng.standard_normal(p.shape).astype(np.float32) for p in one.inputs] for _ in range(2)]
    alone = [results(one, arrays) for arrays in images]
    together = results(two, [np.concatenate(pair) for pair in zip(*images, strict=True)])
    for first, second, both in zip(*alone, together, strict=True):
        wanted = np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)]).reshape(2, -1)
        np.testing.assert_allclose(np.asarray(both, np.float64).reshape(2, -1), wanted, rtol=1e-5, atol=1e-6)


def test_an_output_that_no_input_has_a_part_in() -> None:
    """A learned tensor, and what is computed of one, are given for each image."""
    text = "net t\ninput 3x4x4\nrelu\noutput\nconst w 3x2x2\noutput\nfrom w\naffine scale 2\nlog\noutput\n"
    graph = weights.bind(lang.parse(text), seed=1)
    model = api.build(graph, Options(batch=3)).model()
    _, learned, computed = model(np.zeros((3, 3, 4, 4), np.float32))
    value = graph.constants["w.value"].compute()
    np.testing.assert_array_equal(learned, np.repeat(value, 3, axis=0))
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(computed, np.repeat(np.log(2 * value), 3, axis=0), rtol=1e-5)


def test_a_model_says_how_it_differs_from_its_file(tmp_path) -> None:
    from onnx import TensorProto, helper

    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 4, 5, 3)), ("y", (1, 3, 4, 5)))
    ]
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), helper.make_node("Relu", ["t"], ["y"])]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:])
    file = tmp_path / "last.onnx"
    file.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    with pytest.warns(UserWarning, match="input x is channels first here"):
        model = cnncc.compile(file)
    assert model.info["notes"] == ["input x is channels first here, [1, 3, 4, 5]"]
    with pytest.raises(CnnccError, match=r"must be 1\.\.64x3x4x5 or, as in the file, 1\.\.64x4x5x3, got 1x5x4x3"):
        model(np.zeros((1, 5, 4, 3), np.float32))
