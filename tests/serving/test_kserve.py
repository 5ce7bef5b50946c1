"""A module behind KServe's own server, asked by the Open Inference Protocol."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pages import ROOT
from written import write_shared

import cnncc
from cnncc import api, lang, weights
from cnncc.options import Options
from tests.serving.served import NET, ask, measure

kserve = pytest.importorskip("kserve", reason="KServe is not installed: pip install 'cnncc-inference[kserve]'")
pytestmark = pytest.mark.slow
TWO = "net two\ninput a 2x5x5\ninput b 2x5x5\nadd { | from a }\nsave s\nrelu\noutput\nfrom s\ngap\noutput\n"
IMAGES = np.random.default_rng(0).standard_normal((3, 2, 7, 9)).astype(np.float32)


def compiled(text: str, folder: Path) -> Path:
    build = api.build(weights.bind(lang.parse(text)), Options(batch=4, threads=2))
    return write_shared(build, folder / "net.so")[0]


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> Path:
    return compiled(NET, tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def url(module) -> Iterator[str]:
    port = measure.free_port()
    script = str(ROOT / "examples/serve/kserve_app.py")
    words = [sys.executable, script, "--http_port", str(port), "--enable_grpc", "false"]
    process = subprocess.Popen(words, env={**os.environ, "CNNCC_MODULE": str(module)})
    try:
        assert measure.is_up(process, f"http://127.0.0.1:{port}/v2/health/ready")
        yield f"http://127.0.0.1:{port}/v2/models/classifier"
    finally:
        measure.stop(process)


def question(array: np.ndarray, **more: object) -> dict[str, object]:
    tensor = {"name": "input", "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
    return {"inputs": [{**tensor, **more}]}


def infer(url: str, body: object) -> tuple[int, dict]:
    status, answer = ask(f"{url}/infer", json.dumps(body).encode(), "application/json")
    return status, json.loads(answer)


@pytest.mark.parametrize("count", [1, 3])
def test_the_answer_has_the_bits_of_a_direct_call(url, module, count):
    status, answer = infer(url, question(IMAGES[:count]))
    assert status == 200, answer
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("scores", "FP32", [count, 5])
    assert np.float32(output["data"]).tobytes() == cnncc.load(module).run_many(IMAGES[:count]).tobytes()


def test_the_metadata(url):
    status, body = ask(url)
    told = json.loads(body)
    assert (status, told["name"]) == (200, "classifier")
    assert told["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 2, 7, 9]}]
    assert told["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 5]}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (question(IMAGES[:, :1]), "input 'input' must be Nx2x7x9, got 3x1x7x9"),
        (question(IMAGES, name="image"), "small has no 'image'"),
        (question(IMAGES, shape=[4, 2, 7, 9]), "cannot reshape array"),
        (question(IMAGES, datatype="FP64"), "must be float32, got float64"),
    ],
)
def test_what_the_module_cannot_take_is_a_400(url, body, message):
    status, answer = infer(url, body)
    assert (status, message in answer["error"]) == (400, True), answer


def test_version_1_is_refused(url):
    address = url.replace("/v2/", "/v1/") + ":predict"
    status, answer = ask(address, json.dumps({"instances": IMAGES.tolist()}).encode(), "application/json")
    assert status == 400
    assert "classifier speaks V2 only" in json.loads(answer)["error"]


def test_bytes_in_bytes_out_and_several_tensors(tmp_path):
    """As KServe's client makes them; in this process, through the model's own call."""
    import asyncio

    from cnncc.contrib.kserve import CnnccKServeModel

    module = compiled(TWO, tmp_path)
    a, b = np.random.default_rng(1).standard_normal((2, 2, 2, 5, 5)).astype(np.float32)
    tensors = [kserve.InferInput(name, list(array.shape), "FP32") for name, array in (("b", b), ("a", a))]
    for tensor, array in zip(tensors, (b, a), strict=True):
        tensor.set_data_from_numpy(array, binary_data=True)
    request = kserve.InferRequest("two", tensors, "1", parameters={"binary_data_output": True})
    body, length = request.to_rest()
    model = pickle.loads(pickle.dumps(CnnccKServeModel("two", module)))  # as a server with several processes does
    answer, _ = asyncio.run(model(kserve.InferRequest.from_bytes(body, length, "two"), {}))
    found = kserve.InferResponse.from_bytes(*answer.to_rest())
    model.stop()
    wanted = cnncc.load(module).run_many({"a": a, "b": b})
    assert [output.name for output in found.outputs] == list(wanted)
    for output, expected in zip(found.outputs, wanted.values(), strict=True):
        assert output.as_numpy().tobytes() == expected.tobytes()


def test_a_model_without_room_is_not_ready(module, monkeypatch):
    import asyncio

    from kserve.errors import ModelNotReady

    from cnncc.contrib.kserve import CnnccKServeModel
    from cnncc.serving import QueueFullError

    async def refuse(*_: object) -> None:
        raise QueueFullError("small is busy")

    model = CnnccKServeModel("small", module)
    tensor = kserve.InferInput("input", [3, 2, 7, 9], "FP32", IMAGES.ravel().tolist())
    request = kserve.InferRequest("small", [tensor], "1")
    monkeypatch.setattr(model.batcher, "infer", refuse)
    with pytest.raises(ModelNotReady, match="small is busy"):
        asyncio.run(model.predict(request))
    monkeypatch.undo()
    model.stop()
    assert not model.ready
    with pytest.raises(ModelNotReady, match="the batcher is closed"):
        asyncio.run(model.predict(request))
