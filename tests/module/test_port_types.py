"""Inputs and outputs that are not float32: in Python, C, C++, files and what a module says of itself."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

import cnncc
from cnncc import api, lang, weights
from cnncc.base.elements import ELEMENTS, decode
from cnncc.ops import reference
from cnncc.ops.synthetic import random_inputs
from cnncc.options import Options
from cnncc.runtime.arrays import InputError

F32 = np.float32
TEXT = """\
net small
image: input 3x6x7 uint8 mean (120, 110, 100) std 50
conv 3x3 8 relu; quantize uint8 0.05 3
output as bytes
dequantize
fc 5
output as scores
"""


@pytest.fixture(scope="module")
def graph():
    return weights.bind(lang.parse(TEXT), seed=1)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, 3, 6, 7)).astype(np.uint8)


def test_bytes_go_in_and_come_out(graph, image) -> None:
    model = api.build(graph).model()
    steps, scores = model(image)
    wanted = reference.run(graph, [image])
    assert (steps.dtype, scores.dtype) == (np.uint8, F32)
    assert abs(steps.astype(int) - wanted[graph.outputs[0]]).max() <= 1  # the convolution before it is float32
    np.testing.assert_allclose(scores, wanted[graph.outputs[1]], rtol=0, atol=0.1)
    assert [(p.name, p.dtype) for p in (*model.inputs, *model.outputs)] == [
        ("image", "uint8"), ("bytes", "uint8"), ("scores", "float32")
    ]  # fmt: skip
    many = model.run_many(np.concatenate([image] * 3))
    assert many[0].tobytes() == np.concatenate([steps] * 3).tobytes()


def test_the_module_says_it(graph) -> None:
    info = api.build(graph).info
    assert info["inputs"][0]["dtype"] == "uint8"
    assert info["outputs"][0]["dtype"] == "uint8"
    assert (info["outputs"][0]["scale"], info["outputs"][0]["zero"]) == (float(F32(0.05)), 3)
    assert info["outputs"][1] == {"name": "scores", "shape": [1, 5], "dtype": "float32"}


def test_a_wrong_type_is_refused(graph, image) -> None:
    model = api.build(graph).model()
    with pytest.raises(InputError, match="input 'image' must be uint8, got float32"):
        model(image.astype(F32))
    with pytest.raises(InputError, match="out for 'bytes' must be uint8, got float32"):
        model(image, out=(np.empty((1, 8, 6, 7), F32), np.empty((1, 5), F32)))
    halves = api.build(weights.bind(lang.parse("net t\ninput 4 bfloat16\nrelu\n"))).model()
    with pytest.raises(InputError, match="must be bfloat16, as uint16, got float32"):
        halves(np.zeros((1, 4), F32))


@pytest.mark.parametrize("element", ELEMENTS)
def test_an_input_of_each_type_is_float32_inside(element) -> None:
    """Its numbers as they are; those of int32 are rounded."""
    text = "" if element == "float32" else element
    graph = weights.bind(lang.parse(f"net t\nx: input 3x5x7 {text}\nidentity\nrelu\noutput\noutput x\n"))
    (given,) = random_inputs(graph, 0).values()
    model = api.build(graph).model()
    positive, whole = model(given)
    values = decode(given, ELEMENTS[element])
    assert whole.tobytes() == values.tobytes()
    assert (positive == np.maximum(values, 0)).all()
    assert reference.run(graph, [given])["x"].astype(F32).tobytes() == values.tobytes()


@pytest.mark.parametrize("element", ELEMENTS)
def test_an_output_of_each_type(element) -> None:
    graph = weights.bind(lang.parse(f"net t\ninput 3x5x7\naffine scale 9\ncast {element}\n"))
    given = np.random.default_rng(0).standard_normal((1, 3, 5, 7)).astype(F32)
    found = api.build(graph).model()(given)
    assert found.dtype == ELEMENTS[element].dtype
    wanted = reference.run(graph, [given], dtype=F32)[graph.outputs[0]]
    assert decode(found, ELEMENTS[element]).tobytes() == wanted.astype(F32).tobytes()


def test_the_reference_refuses_what_an_integer_type_does_not_have() -> None:
    graph = lang.parse("net t\nx: input 2 uint8\nrelu\n")
    with pytest.raises(cnncc.CnnccError, match="input 'x' takes uint8, got numbers that this type does not have"):
        reference.run(graph, [[[0.5, 1.0]]])
    assert reference.run(graph, [[[5, 255]]])[graph.outputs[0]].tolist() == [[5, 255]]


C = """\
#include <stdio.h>
#include <stdlib.h>
#include "small.h"
static uint8_t in[SMALL_IMAGE_COUNT], bytes[SMALL_BYTES_COUNT];
static float scores[SMALL_SCORES_FLOATS];
int main(void) {
    const cnncc_port *ports;
    if (small_inputs(&ports) != 1 || ports->dtype != CNNCC_UINT8 || ports->count != sizeof in) return 1;
    if (small_outputs(&ports) != 2 || ports[0].dtype != CNNCC_UINT8 || ports[1].dtype != CNNCC_FLOAT32) return 2;
    if (SMALL_IMAGE_DTYPE != CNNCC_UINT8 || SMALL_SCORES_DTYPE != CNNCC_FLOAT32) return 3;
    if (fread(in, 1, sizeof in, stdin) != sizeof in) return 4;
    void *arena = aligned_alloc(SMALL_ARENA_ALIGN, SMALL_ARENA_BYTES);
    if (small_run(small_model_get(), 1, in, bytes, scores, arena)) return 5;
    fwrite(bytes, 1, sizeof bytes, stdout);
    return 0;
}
"""
CPP = """\
#include <cstdio>
#include "small.hpp"
int main() {
    std::vector<std::uint8_t> image(SMALL_IMAGE_COUNT), bytes(SMALL_BYTES_COUNT);
    std::vector<float> scores(SMALL_SCORES_FLOATS);
    if (std::fread(image.data(), 1, image.size(), stdin) != image.size()) return 1;
    cnncc::small_network network;
    network(image, bytes, scores);
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
}
"""


@pytest.mark.parametrize(("source", "file", "compiler"), [(C, "main.c", "cc"), (CPP, "main.cpp", "c++")])
def test_c_and_cpp(graph, image, tmp_path, source, file, compiler) -> None:
    build = api.build(graph, Options(threads=1))
    build.write({"so": tmp_path / "libsmall.so", "h": tmp_path / "small.h", "hpp": tmp_path / "small.hpp"})
    (tmp_path / file).write_text(source)
    flags = ["-std=c11"] if compiler == "cc" else ["-std=c++17"]
    command = [compiler, *flags, "-Wall", "-Wextra", "-Werror", file, "-L.", "-lsmall", "-Wl,-rpath,.", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./main"], cwd=tmp_path, input=image.tobytes(), capture_output=True, check=True)
    assert done.stdout == build.model()(image)[0].tobytes()


def test_a_module_from_a_file_says_the_same(graph, image, tmp_path) -> None:
    build = api.build(graph)
    build.write({"so": tmp_path / "small.so"})
    model = cnncc.load(tmp_path / "small.so")
    assert model(image)[0].tobytes() == build.model()(image)[0].tobytes()
