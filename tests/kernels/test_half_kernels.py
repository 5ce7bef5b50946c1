"""Weights in half precision: the kernels on every target, what they cost, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from kernels.compare import RUNNABLE, network
from written import write_shared

import cnncc
from cnncc import api, lang, weights
from cnncc.base.elements import ELEMENTS, INT8, decode
from cnncc.base.errors import CnnccError
from cnncc.ir import Constant
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.options import WEIGHTS_DTYPES, Options
from cnncc.report.check import check
from cnncc.report.profile.work import works
from cnncc.runtime.load import load, read_info
from cnncc.weights import half

BOUND = 1e-5
BODY = "relu; fc 33 relu; save x; fc 100 bn; relu; fc 33; add { | from x }; relu; fc 7 softmax"
CONVS = {
    "direct": ("3x19x17", "conv 7x7 24 /2 relu; conv 3x3 40; conv 1x1 33 /2 bn; relu"),
    "depthwise": ("40x11x9", "maxpool 1x1; dwconv 3x3 relu; dwconv 5x5 /2; dwconv 1x9 nobias"),
    "groups": ("48x9x9", "maxpool 1x1; conv 3x3 48 groups 12 relu; conv 1x1 96 groups 2; conv 3x3 32 groups 4"),
    "transposed": ("12x7x5", "upconv 3x3 20 /2 relu; upconv 2x2 24 /2 groups 4"),
}
PAIRS = [(t, d) for t in RUNNABLE for d in WEIGHTS_DTYPES[1:] if d == "bfloat16" or targets.load(t).float16]


@pytest.mark.parametrize(("target", "dtype"), PAIRS)
@pytest.mark.parametrize("batch", [1, 3])
def test_against_the_reference_with_rounded_weights(target, dtype, batch):
    report = check(network(BODY, "20x3x3"), Options((target,), batch=batch, threads=2, weights_dtype=dtype))
    assert report.worst is not None
    assert report.worst.error <= BOUND
    assert report.weights_dtype == dtype
    assert report.rounding is not None
    assert 1e-5 < report.rounding < 0.05


@pytest.mark.parametrize(("target", "dtype"), PAIRS)
@pytest.mark.parametrize("kind", CONVS)
def test_convolutions_against_the_reference_with_rounded_weights(kind, target, dtype):
    dims, body = CONVS[kind]
    report = check(network(body, dims), Options((target,), threads=2, weights_dtype=dtype))
    assert report.worst is not None
    assert report.worst.error <= BOUND
    assert report.rounding is not None
    assert report.rounding > BOUND


@pytest.mark.parametrize(
    "body", ["fc 5; dropout", "relu; fc 5; output; relu; identity; output", "fc 5; softmax; dropout"]
)
def test_outputs_that_passes_drop_are_compared(body):
    report = check(network(body, "6x1x1"), Options(threads=1, weights_dtype="bfloat16"))
    assert report.passed
    assert report.layers


def fc_model(weight: np.ndarray, dtype: str, target: str = "host"):
    """A network that multiplies a vector by the given matrix (outputs x inputs)."""
    graph = weights.bind(lang.parse(f"net t\ninput {weight.shape[1]}\nfc {weight.shape[0]} nobias\n"))
    (name,) = graph.constants
    bound = graph.rebuild(graph.nodes, constants={name: Constant(weight.shape, lambda: weight)})
    return api.build(bound, Options((target,), threads=1, weights_dtype=dtype)).model()


@pytest.mark.parametrize(("target", "dtype"), PAIRS)
def test_every_number_is_converted_exactly(target, dtype):
    """One weight an output, times one: subnormal numbers, both zeros, the largest; all of them bit by bit."""
    stored = np.arange(0, 0x7C00 if dtype == "float16" else 0x7F80, 7, dtype=np.uint16)
    values = decode(stored.view(ELEMENTS[dtype].dtype), ELEMENTS[dtype])
    values = np.concatenate([values, -values])
    if dtype == "bfloat16":
        values = values[np.abs(values) >= np.finfo(np.float32).tiny]  # float32 arithmetic may flush what is below
    (got,) = fc_model(values.reshape(-1, 1), dtype, target)(np.ones((1, 1), np.float32))
    np.testing.assert_array_equal(got, values)


def programs(body: str, dims: str, target: str = "x86-64-v3"):
    graph = lang.parse(f"net t\ninput {dims}\n{body}\n")
    return {d: lower(graph, targets.load(target), Options(weights_dtype=d)) for d in WEIGHTS_DTYPES}


def test_bytes_are_halved_and_kernels_say_so():
    """Weights of convolutions and fc, in the module and as work of the profile; biases stay."""
    made = programs("conv 3x3 16 relu; fc 64", "32x8x8")
    plain = made["float32"]
    for dtype, short in (("float16", "f16"), ("bfloat16", "bf16")):
        first, last = 2 * 32 * 16 * 9, 2 * 64 * 16 * 8 * 8
        assert plain.weight_bytes - made[dtype].weight_bytes == first + last
        saved = [more.bytes - less.bytes for more, less in zip(works(plain), works(made[dtype]), strict=True)]
        assert [count for count in saved if count] == [first, last]
        assert made[dtype].kernels[-1].name.startswith(f"dense_{short}_1x")
        assert f"the image, as {dtype}; bound" in list(made[dtype].selections.values())[-1].why
        assert {p.name.split(".")[-1]: p.constant.element.name for p, _ in made[dtype].weights[-2:]} == {
            "weight": dtype,
            "bias": "float32",
        }
        assert [k.name.split("_")[:2] for k in made[dtype].kernels[:-1]] == [["conv", f"f32x{short}"]]
    assert plain.kernels[-1].name.startswith("dense_f32_1x")


def test_no_weights_are_transformed_for_winograd():
    """They would be several times as many as those that are stored."""
    made = programs("maxpool 1x1; conv 3x3 64", "64x28x28")
    assert [d for d in WEIGHTS_DTYPES if any("winograd" in k.name for k in made[d].kernels)] == ["float32"]
    halves = 2 * 64 * 64 * 9
    assert made["bfloat16"].weight_bytes == halves + 4 * 64


def test_integers_stay_as_they_are():
    """The weights of a layer on bytes are no halves, and not rounded either."""
    graph = network("fc 3", "7")
    (name,) = (n for n in graph.constants if n.endswith(".weight"))
    whole = graph.rebuild(graph.nodes, constants={name: Constant((3, 7), lambda: np.ones((3, 7), np.int8), INT8)})
    assert half.rounded(graph, "bfloat16").nodes[-1].weights["weight"] != name
    assert half.rounded(whole, "bfloat16").nodes[-1].weights["weight"] == name


def test_offsets_stay_aligned():
    for program in programs("fc 3 relu; fc 1; fc 5", "7").values():
        assert all(offset % 64 == 0 for _, offset in program.weights)
        ends = [offset + packed.nbytes for packed, offset in program.weights]
        assert all(end <= offset for end, (_, offset) in zip(ends, program.weights[1:], strict=False))
        assert program.weight_bytes == ends[-1]


def test_float16_needs_an_instruction():
    graph = network("fc 3", "7")
    with pytest.raises(CnnccError, match=r"target x86-64-v2 has no instruction that converts float16 weights") as error:
        api.build(graph, Options(("x86-64-v2",), weights_dtype="float16"))
    assert "bfloat16 needs none" in str(error.value)
    with pytest.raises(CnnccError, match="unknown type of weights 'half'"):
        api.build(graph, Options(weights_dtype="half"))


def test_a_weight_that_overflows_is_refused_and_nothing_is_written(tmp_path):
    weight = np.ones((3, 4), np.float32)
    weight[1, 2] = -70000
    with pytest.raises(
        CnnccError, match=r"weight \S+\.weight does not fit float16: .* is 70000\n.*bfloat16 has the range"
    ):
        fc_model(weight, "float16")
    assert fc_model(weight, "bfloat16")(np.ones((1, 4), np.float32))[0, 1] == pytest.approx(-70000, rel=2**-8)
    graph = network("fc 3", "4")
    (name,) = (n for n in graph.constants if n.endswith(".weight"))
    huge = graph.rebuild(graph.nodes, constants={name: Constant((3, 4), lambda: weight)})
    with pytest.raises(CnnccError, match="does not fit float16"):
        write_shared(api.build(huge, Options(weights_dtype="float16")), tmp_path / "a.so")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", WEIGHTS_DTYPES[1:])
def test_a_module_holds_them_and_is_the_same_every_time(tmp_path, dtype):
    text = "net t\ninput 5x3x3\nfc 100 relu\nfc 10\n"
    if dtype == "float16" and not targets.host().float16:
        pytest.skip("this processor lacks F16C")
    files = [tmp_path / "a.so", tmp_path / "b.so"]
    for file in files:
        write_shared(api.build(weights.bind(lang.parse(text)), Options(threads=2, weights_dtype=dtype)), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert read_info(files[0])["weights_dtype"] == dtype
    image = np.random.default_rng(0).standard_normal((1, 5, 3, 3)).astype(np.float32)
    loaded, compiled = load(files[0]), cnncc.compile(text, weights_dtype=dtype)
    results = {model(image).tobytes() for model in (loaded, compiled) for _ in range(5)}
    loaded.set_threads(1)
    assert results == {loaded(image).tobytes()}
    assert results != {cnncc.compile(text)(image).tobytes()}
