"""Layers on bytes on a GPU: every byte is that of the definition, with every tile, around their edges, at the limits of
what a sum may be, and in whole networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cross.test_same_bytes import GRAPH, X
from cuda.checked import flow
from cuda.stand_in import stand_in
from cuda.test_every_op import held, program_of

from cnncc import lang, passes, weights
from cnncc.base.elements import INT8, INT32
from cnncc.ir import Constant, Graph
from cnncc.kernels.gpu import conv, pointwise_bytes
from cnncc.kernels.gpu.conv_bytes import MOST_TAPS
from cnncc.kernels.gpu.model import BYTE_TENSOR_TILES, ByteTile, GpuTile, TensorTile, byte_tiles
from cnncc.machines import gpus
from cnncc.module.gpu.build import CudaBuild
from cnncc.module.gpu.source import program_source
from cnncc.module.lower import lower
from cnncc.ops import reference
from cnncc.options import Options
from cnncc.report import check

RNG = np.random.default_rng(8)
TILES = (*byte_tiles(), *BYTE_TENSOR_TILES)
FEW = {byte_tiles()[0], byte_tiles()[-1], *BYTE_TENSOR_TILES[::4]}
"""That `make test` tries, `make test-cuda` all."""


@pytest.fixture
def with_tile(monkeypatch: pytest.MonkeyPatch) -> Callable[[GpuTile | TensorTile], None]:
    """Makes it the only one."""
    return lambda tile: monkeypatch.setattr(conv, "tiles_of", lambda site, geometry: (tile,))


def label(tile: GpuTile | TensorTile) -> str:
    return f"{'words' if isinstance(tile, ByteTile) else 'tensor'}-{tile.label}"


@pytest.mark.parametrize("tile", [t if t in FEW else pytest.param(t, marks=pytest.mark.slow) for t in TILES], ids=label)
def test_every_tile(tile: GpuTile | TensorTile, with_tile: Callable[..., None], kept: Path) -> None:
    """More rows than whole tiles have, and fewer columns; windows that reach beyond the image; what is added has
    another sign than the result."""
    with_tile(tile)
    channels = max(1, tile.columns - 3)
    body = (
        f"input 19x11x13\nquantize uint8 0.02 77\nqconv 3x3 {channels} /2 to int8 scale 0.3 zero -9; save a\n"
        f"qconv {{ | from a }} 1x1 {channels} to uint8 scale 0.3 zero 130; relu\nqconv 3x3 5 dil 2"
    )
    assert tile.label in held(body, 3, kept)


@pytest.mark.parametrize("target", ["cuda-sm_75", "cuda-sm_80"])
def test_what_each_device_multiplies_with(target: str) -> None:
    """Words of four bytes before compute capability 8.0, tensor cores from then on."""
    graph = weights.bind(lang.parse("net t\ninput 32x9x9\nquantize uint8 0.02 7\nqconv 3x3 64\n"), None)
    families = {call.kernel.family for call in lower(graph, gpus.load(target)).calls}
    assert ("byte_tensor_conv" in families) == (target != "cuda-sm_75")
    assert ("byte_conv" in families) == (target == "cuda-sm_75")


@pytest.mark.parametrize("tile", [byte_tiles()[-1], BYTE_TENSOR_TILES[-1]], ids=label)
@pytest.mark.parametrize("splits", [2, 3, 4])
def test_split_sums(
    splits: int, tile: TensorTile, with_tile: Callable[..., None], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of a sum are integers: the last block adds them up to the same bytes."""
    with_tile(tile)
    monkeypatch.setattr(conv, "_split_choices", lambda config: [splits])
    found = held("input 300x5x4\nquantize int8 0.02 -7\nqconv 3x3 37 to uint8 scale 0.4 zero 100", 2, kept)
    assert f"_k{splits}" in found


@pytest.mark.parametrize("channels", [3, 16, 33])
@pytest.mark.parametrize("batch", [1, 3])
def test_images_whose_channels_do_not_lie_side_by_side(channels: int, batch: int, kept: Path) -> None:
    """They are put together to words as they are loaded."""
    body = (
        f"input {channels}x6x7\nquantize uint8 0.02 99; permute {channels}x6x7 axes 0,2,1 to {channels}x7x6\n"
        "qconv 3x3 20 pad 2 to int8 scale 0.2 zero 3; qconv 2x2 4"
    )
    assert "nchw_" in held(body, batch, kept)


@pytest.mark.parametrize(
    ("channels", "out", "groups"), [(24, 24, 4), (32, 64, 2), (20, 40, 20), (6, 6, 3), (48, 48, 3)]
)
def test_groups(channels: int, out: int, groups: int, kept: Path) -> None:
    body = (
        f"input {channels}x7x6\nrelu; quantize uint8 0.02 30\n"
        f"qconv 3x3 {out} groups {groups} to uint8 scale 0.2 zero 5; qconv 1x1 7"
    )
    for batch in (1, 2):
        held(body, batch, kept)


@pytest.mark.parametrize("kernel", ["3x3", "22x23", "23x23"])
@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_depthwise_up_to_as_many_taps_as_are_exact(kernel: str, kind: str, kept: Path) -> None:
    """float32 has every sum of so few products; of more they are summed as integers."""
    height, width = map(int, kernel.split("x"))
    body = f"input 17x9x8\nquantize {kind} 0.02 70; save a\nqconv {kernel} 17 groups 17 pad {height // 2},{width // 2}"
    found = held(f"{body} to {kind} scale 3 zero 9", 2, kept)
    assert ("depthwise" in found) == (height * width <= MOST_TAPS)


@pytest.mark.parametrize("words", ["/2", "/3 pad 1", "dil 2", "groups 2", "pad 1"])
def test_transposed(words: str, kept: Path) -> None:
    body = f"input 18x5x6\nquantize uint8 0.02 200\nqupconv 3x3 34 {words} to uint8 scale 0.3 zero 90; qupconv 2x2 5 /2"
    for batch in (1, 3):
        held(body, batch, kept)


@pytest.mark.parametrize("inputs", ["1", "100", "16x2x2"])
@pytest.mark.parametrize("out", [16, 37])
@pytest.mark.parametrize("batch", [1, 9])
def test_fully_connected(inputs: str, out: int, batch: int, kept: Path) -> None:
    """In vectors of 16 numbers, and one by one where images do not begin at such."""
    body = f"input {inputs}\nquantize int8 0.02 4\nqfc {out} to uint8 scale 0.3 zero 100; qfc 10; output"
    held(body, batch, kept)


@pytest.mark.parametrize("size", ["1x1", "40x33"])
@pytest.mark.parametrize("to", ["", "to uint8 scale 0.01 zero 100", "to int8 scale 0.02 zero -3"])
def test_averages(size: str, to: str, kept: Path) -> None:
    for channels in (1, 16, 35):
        held(f"input {channels}x{size}\nquantize uint8 0.02 100\nqgap {to}", 2, kept)


def test_sums_products_and_tables(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In vectors and one by one; a factor that is no number, or infinite, gives the zero point, or a bound."""
    text = (
        "net t\ninput x 19x5x7\ninput f 19x1x1\nfrom x; quantize uint8 0.03 100; save a\n"
        "qmul { | from f } to int8 scale 0.03 zero 5; save b; output\n"
        "from a; qadd { | from b } to uint8 scale 0.05 zero 90; relu6; output\n"
        "from a; dequantize; silu; quantize int8 0.02 3; output\n"
    )
    graph = weights.bind(lang.parse(text), None)
    x, f = RNG.normal(0, 2, (2, 19, 5, 7)).astype(np.float32), RNG.normal(0, 2, (2, 19, 1, 1)).astype(np.float32)
    f[0, :4, 0, 0], x[0, 0, 0, :3] = (np.nan, np.inf, -np.inf, 0), (np.nan, np.inf, -np.inf)
    exact(graph, {"x": x, "f": f}, kept)
    monkeypatch.setattr(pointwise_bytes, "MOST_THREADS", 32)
    held("input 19x13x5\nquantize uint8 0.02 7; permute 19x13x5 axes 0,2,1 to 19x5x13; relu; qgap", 1, kept)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_padding_is_the_number_and_not_the_byte(kind: str, kept: Path) -> None:
    """0 is stored as the zero point, other numbers in steps from it."""
    held(f"input 5x4x3\nquantize {kind} 0.5 30; pad 1,0,2,1; pad 1 value 7.3; pad 2 value 1000", 2, kept)


def test_integers_are_padded_with_integers(kept: Path) -> None:
    held("input 5x4x3 int32\nrelu; affine scale 100000; cast int32; pad 1 value -7; pad 1 value 16777217", 2, kept)


def exact(graph: Graph, arrays: dict[str, np.ndarray], folder: Path) -> None:
    """Every value is the reference's, bit by bit."""
    program = program_of(graph, len(next(iter(arrays.values()))))
    for node, read, got in flow(program, arrays, folder):
        with np.errstate(all="ignore"):
            wanted = reference.evaluate(program.graph, node, read, np.dtype(np.float32))
        np.testing.assert_array_equal(got, wanted, err_msg=node.name)


@pytest.mark.parametrize("tile", [byte_tiles()[-1], BYTE_TENSOR_TILES[-1]], ids=label)
@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_the_largest_sums(kind: str, tile: TensorTile, with_tile: Callable[..., None], kept: Path) -> None:
    """Values and weights at the ends of their types, and biases that bring the sums to the ends of int32; results at
    both ends of what can be rounded."""
    with_tile(tile)
    zero = {"uint8": 255, "int8": -128}[kind]
    graph = weights.bind(lang.parse(f"net t\ninput 64x9x5\nquantize {kind} 0.5 {zero}\nqconv 3x3 16\n"), None)
    layer = next(node for node in graph.nodes if node.op == "qconv")
    full = np.where(RNG.random((16, 64, 3, 3)) < 0.5, -127, 127).astype(np.int8)
    full[0], full[1], full[2] = 127, -127, 0
    most = 2**31 - 1 - 510 * np.abs(full.astype(np.int64)).reshape(16, -1).sum(1)
    constants = {
        **graph.constants,
        layer.weights["weight"]: known(full),
        layer.weights["bias"]: known(np.where(np.arange(16) % 2, most, -most).astype(np.int32)),
    }
    ends = np.where(RNG.random((1, 64, 9, 5)) < 0.5, -1000, 1000).astype(np.float32)
    exact(graph.rebuild(graph.nodes, graph.outputs, constants), {graph.inputs[0].name: ends}, kept)


def known(array: np.ndarray) -> Constant:
    element = {"int8": INT8, "int32": INT32}[array.dtype.name]
    return Constant(array.shape, lambda: array, element)


@pytest.mark.parametrize("target", ["cuda-sm_75", "cuda-sm_80"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_module_gives_the_bytes_of_every_processor(target: str, batch: int, emulated: None) -> None:
    """The network that all processors are held to by `tests/cross/test_same_bytes.py`."""
    program = lower(GRAPH, gpus.load(target), Options(batch=batch))
    model = CudaBuild(program, program_source(program), [stand_in("compute_75")]).model()
    wanted = reference.run(GRAPH, [X])
    for got, name in zip(model(np.concatenate([X] * batch)), GRAPH.outputs, strict=True):
        for image in got:
            np.testing.assert_array_equal(image, wanted[name][0])


@pytest.mark.parametrize("kind", ["uint8", "int8", "int32", "float16", "bfloat16"])
@pytest.mark.parametrize("words", ["", "mean (1,2,3) std (4,5,6)"])
def test_inputs_of_other_types(kind: str, words: str, kept: Path) -> None:
    body = f"input 3x9x7 {kind} {words}\nsave a; quantize uint8 0.1 7; output; from a; relu; cast int32; output"
    held(f"{body}\ninput y 7 {kind}\nrelu; cast {kind}; cast float32; output", 2, kept)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_outputs_of_halves_are_checked_as_numbers(kind: str, emulated: None) -> None:
    graph = weights.bind(lang.parse(f"net t\ninput 3x9x9\nconv 3x3 4; cast {kind}\n"), None)
    for target in ("host", "cuda-sm_80"):
        assert check.check(graph, Options((target,))).passed


@pytest.mark.parametrize("target", ["host", "cuda-sm_80"])
def test_what_all_images_share_is_added(target: str, emulated: None) -> None:
    text = (
        "net t\ninput x 5x4x6\nconst c 5x4x6\nfrom c; quantize uint8 0.1 9; save q\n"
        "from x; quantize uint8 0.1 9; qadd { | from q } to int8 scale 0.1 zero 3\n"
        "qadd { from q | } to uint8 scale 0.2 zero 9\n"
    )
    graph = weights.bind(lang.parse(text), None)
    assert check.check(graph, Options((target,), batch=2)).passed


@pytest.mark.parametrize("kind", ["uint8", "int8", "int32", "float16"])
def test_inputs_and_outputs_of_other_types(kind: str, emulated: None) -> None:
    """As the caller has them: pixels, and classes."""
    text = (
        f"net t\ninput x 3x9x7 {kind} mean (1,2,3) std (4,5,6)\nsave a; relu; cast {kind}; output; from a; conv 3x3 4"
    )
    graph = weights.bind(lang.parse(f"{text}; cast int32; output\n"), None)
    program = lower(graph, gpus.load("cuda-sm_80"), Options(batch=2))
    model = CudaBuild(program, program_source(program), [stand_in("compute_75")]).model()
    x = RNG.integers(0, 99, (2, 3, 9, 7)).astype(kind)
    wanted = reference.run(passes.with_batch(graph, 2), [x])
    for got, name in zip(model(x), graph.outputs, strict=True):
        assert got.dtype == wanted[name].dtype if kind != "float16" else True
        np.testing.assert_allclose(got, wanted[name], atol=1)  # a number that is nearly whole may fall to either side
