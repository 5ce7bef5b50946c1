"""Convolutions on bytes: every byte is that of the definition, on every target whose code this machine runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels.byte_kernels import from_blocks, run, to_blocks
from kernels.compare import RUNNABLE

from cnncc.base.elements import ELEMENTS
from cnncc.ir import Node, TensorType
from cnncc.ir.types import Quantization
from cnncc.kernels.cpu import conv_bytes as kernels
from cnncc.kernels.cpu import pointwise_bytes as pointwise
from cnncc.kernels.cpu.byte_operands import ByteTypes, OnBytes, kernel_bias, kernel_steps
from cnncc.kernels.cpu.conv_direct import pack_conv
from cnncc.kernels.cpu.depthwise_bytes import depthwise_byte_kernel, depthwise_bytes, pack_depthwise
from cnncc.kernels.shared.byte_steps import Steps
from cnncc.kernels.shared.convolution import ConvGeometry, densify, merged_groups, pad_channels
from cnncc.machines import targets
from cnncc.module.cpu.objects import kernel_text
from cnncc.ops import byte_arithmetic as q
from cnncc.ops.quantized import exact_sums
from cnncc.passes.join_tables import ByteFunction

F32 = np.float32
TARGETS = [n for n in RUNNABLE if n != "host"]


@dataclass(frozen=True)
class Layer:
    """One convolution, and the types of its values."""

    cin: int
    cout: int
    size: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    source: str = "uint8"
    result: str = "uint8"
    residual: str = ""
    planar: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        reach = [(self.kernel[a] - 1) * self.dilation[a] + 1 for a in (0, 1)]
        height, width = (
            (self.size[a] + self.pad[a] + self.pad[a + 2] - reach[a]) // self.stride[a] + 1 for a in (0, 1)
        )
        return height, width

    @property
    def attrs(self) -> dict[str, object]:
        names = ("kernel", "stride", "pad", "dilation", "groups")
        return {n: getattr(self, n) for n in names} | {"out": self.cout, "bias": True, "rounding": "floor"}


LAYERS = {
    "1x1": Layer(32, 48, (7, 9)),
    "1x1 stride 2, ragged": Layer(24, 40, (9, 7), stride=(2, 2)),
    "3x3": Layer(16, 16, (5, 13), (3, 3), pad=(1, 1, 1, 1)),
    "3x3 of int8, dilated": Layer(16, 32, (7, 8), (3, 3), pad=(2, 2, 2, 2), dilation=(2, 2), source="int8"),
    "5x3 to int8": Layer(16, 16, (6, 6), (5, 3), (1, 2), (2, 1, 2, 0), source="int8", result="int8"),
    "residual": Layer(16, 32, (5, 7), (3, 3), pad=(1, 1, 1, 1), residual="uint8"),
    "residual of int8": Layer(32, 16, (5, 7), residual="int8", result="int8"),
    "planes": Layer(3, 32, (11, 21), (3, 3), (2, 2), (0, 0, 1, 1), planar=True),
    "five planes of int8": Layer(5, 16, (6, 19), (2, 2), planar=True, source="int8"),
    "groups": Layer(64, 64, (4, 6), (3, 3), pad=(1, 1, 1, 1), groups=4),
    "narrow groups": Layer(32, 32, (4, 6), (1, 1), groups=8),
    "to float32": Layer(16, 32, (3, 5), result="float32"),
}


@dataclass(frozen=True, eq=False)
class Drawn:
    """Random operands of a layer, and its result by the definition."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    extra: np.ndarray | None
    steps: Steps
    wanted: np.ndarray


def draw(layer: Layer, seed: int) -> Drawn:
    rng = np.random.default_rng(seed)

    def numbers(kind: str, shape: tuple[int, ...] = ()) -> np.ndarray:
        least, most = int(ELEMENTS[kind].least), int(ELEMENTS[kind].most)
        return rng.integers(least, most, shape, endpoint=True).astype(kind)

    x, zero = numbers(layer.source, (layer.cin, *layer.size)), int(numbers(layer.source))
    weight = numbers("int8", (layer.cout, layer.cin // layer.groups, *layer.kernel))
    bias = rng.integers(-20000, 20000, layer.cout)
    sums = exact_sums(x[None], weight, bias, zero, layer.attrs)
    scale = (rng.uniform(0.5, 2.0, layer.cout) * 50 / max(1, np.abs(sums).mean())).astype(F32)
    extra = numbers(layer.residual, (layer.cout, *layer.grid)) if layer.residual else None
    residual = None if extra is None else q.Residual(extra[None], int(numbers(layer.residual)), F32(0.37))
    value = q.scaled(sums, scale, residual)
    more = (0, 0.0) if residual is None else (residual.zero, float(residual.scale))
    if layer.result == "float32":
        wanted = np.clip(value, F32(-60.5), F32(70.25))
        return Drawn(x, weight, bias, scale, extra, Steps(zero, -60.5, 70.25, 0, *more), wanted[0])
    low, high = int(ELEMENTS[layer.result].least) + 3, int(ELEMENTS[layer.result].most) - 5
    to = q.Bytes(int(numbers(layer.result)), low, high)
    wanted = q.to_bytes(value, to).astype(layer.result)
    return Drawn(x, weight, bias, scale, extra, Steps(zero, low, high, to.zero, *more), wanted[0])


def geometry_of(layer: Layer, block: int) -> tuple[ConvGeometry, int]:
    """The geometry, and how many groups are computed as one."""
    groups = layer.groups
    merge = merged_groups(groups, layer.cin, layer.cout, block) if groups > 1 else 1
    geometry = ConvGeometry(
        layer.cin, layer.cout, 1 if layer.planar else block, layer.size, layer.grid, layer.grid, layer.kernel,
        layer.stride, layer.dilation, (-layer.pad[0], -layer.pad[1]), groups // merge, True, (),
    )  # fmt: skip
    return geometry, merge


def operands(d: Drawn, packed: np.ndarray, weight: np.ndarray, c: OnBytes, planar: bool) -> list[np.ndarray]:
    """Of a kernel, before its result; `weight` is the one that its sums are made of."""
    return [
        d.x if planar else to_blocks(d.x, c.block, fill=99),
        packed,
        kernel_bias(weight, d.bias, d.steps.zero_in, c),
        pad_channels(d.scale, c.out_blocks * c.block),
        kernel_steps(d.steps, c),
        *([] if d.extra is None else [to_blocks(d.extra, c.block)]),
    ]


def check(layer: Layer, name: str, folder: Path, seed: int = 0, pick: int = 0) -> None:
    """One random layer with the `pick`-th choice of the model."""
    target, d = targets.load(name), draw(layer, seed)
    geometry, merge = geometry_of(layer, target.block)
    dense = densify(d.weight, layer.groups, merge)
    types = ByteTypes(layer.source, layer.result, layer.residual)
    found = kernels.byte_candidates(geometry, types, target, "direct_int8", wide=pick > 0)
    config = kernels.configure_bytes(geometry, types, target, found[pick % len(found)].choice)
    given = operands(d, pack_conv(dense, config), dense, config, layer.planar)
    result = np.empty((config.out_blocks, *layer.grid, config.block), layer.result)
    got = run(kernels.byte_kernel(config, target), target, folder, given, result)
    assert from_blocks(got, layer.cout).tobytes() == d.wanted.tobytes()


def depthwise(channels: int, size: tuple[int, int], kernel: tuple[int, int], **more: Any) -> Layer:
    return Layer(channels, channels, size, kernel, groups=channels, **more)


DEPTHWISE = {
    "3x3": depthwise(32, (9, 14), (3, 3), pad=(1, 1, 1, 1)),
    "3x3 stride 2, ragged": depthwise(21, (11, 10), (3, 3), stride=(2, 2), pad=(0, 0, 1, 1)),
    "5x5 of int8": depthwise(16, (8, 9), (5, 5), pad=(2, 2, 2, 2), source="int8", result="int8"),
    "residual": depthwise(16, (6, 5), (3, 3), pad=(1, 1, 1, 1), residual="int8"),
    "dilated, stride 3": depthwise(16, (13, 17), (3, 5), stride=(1, 3), dilation=(2, 2), pad=(2, 3, 0, 1)),
    "1x2": depthwise(16, (3, 4), (1, 2), result="float32"),
}


def check_depthwise(layer: Layer, name: str, folder: Path, rows: int = 0) -> None:
    target, d = targets.load(name), draw(layer, 1)
    geometry = replace(geometry_of(replace(layer, groups=1), target.block)[0], groups=layer.groups)
    types = ByteTypes(layer.source, layer.result, layer.residual)
    config = depthwise_bytes(geometry, types, target)
    config = replace(config, rows=rows or config.rows)
    given = operands(d, pack_depthwise(d.weight, config), d.weight, config, planar=False)
    result = np.empty((config.out_blocks, *layer.grid, config.block), layer.result)
    got = run(depthwise_byte_kernel(config, target), target, folder, given, result)
    assert from_blocks(got, layer.cout).tobytes() == d.wanted.tobytes()


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("layer", DEPTHWISE)
@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3"])
def test_every_byte_of_a_depthwise_convolution(layer: str, name: str, rows: int, tmp_path: Path) -> None:
    check_depthwise(DEPTHWISE[layer], name, tmp_path, min(rows, DEPTHWISE[layer].grid[0]))


@pytest.mark.parametrize("result", ["uint8", "float32"])
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 48), (84, 10), (40, 21)])
@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3"])
def test_every_byte_of_a_fully_connected_layer(
    name: str, inputs: int, outputs: int, result: str, tmp_path: Path
) -> None:
    """Vectors have no channels that fill up their last block: what follows them stays as it is."""
    target, layer = targets.load(name), Layer(inputs, outputs, (1, 1), result=result)
    d, types = draw(layer, 5), ByteTypes("uint8", result)
    geometry = kernels.dense_geometry(inputs, outputs, target.block)
    choice = kernels.byte_candidates(geometry, types, target, "direct_int8")[0].choice
    config = kernels.configure_dense(geometry, types, target, choice)
    given = operands(d, pack_conv(d.weight, config), d.weight, config, planar=True)
    got = run(kernels.byte_kernel(config, target), target, tmp_path, given, np.empty(outputs, result))
    assert got.tobytes() == d.wanted.tobytes()


KINDS = [("uint8", "int8", "uint8"), ("int8", "uint8", "int8")]


@pytest.mark.parametrize(("first", "second", "result"), KINDS)
@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3"])
def test_every_byte_of_a_sum_of_two_tensors(name: str, first: str, second: str, result: str, tmp_path: Path) -> None:
    target, rng, types = targets.load(name), np.random.default_rng(4), ByteTypes(first, result, second)
    count = 515 * target.block
    a, b = (rng.integers(0, 256, count).astype(np.uint8).view(kind) for kind in (first, second))
    zeros, scales = (-7, 100) if first == "int8" else (9, -100), (F32(0.37), F32(0.81))
    steps = Steps(zeros[0], -50, 120, 3, zeros[1], float(scales[1]))
    if result == "uint8":
        steps = replace(steps, low=10, high=250)
    wanted = q.added_bytes(
        q.Residual(a, zeros[0], scales[0]), q.Residual(b, zeros[1], scales[1]),
        q.Bytes(3, int(steps.low), int(steps.high)),
    )  # fmt: skip
    kernel = pointwise.add_kernel(types, count, target)
    given = [a, np.full(target.block, scales[0]), kernel_steps(steps, kernel.config), b]
    got = run(kernel, target, tmp_path, given, np.empty(count, result))
    assert got.tobytes() == wanted.astype(result).tobytes()


@pytest.mark.parametrize("result", ["uint8", "float32"])
@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3"])
def test_every_byte_of_an_average(name: str, result: str, tmp_path: Path) -> None:
    target, rng = targets.load(name), np.random.default_rng(4)
    x = rng.integers(0, 256, (3, 49, target.block)).astype(np.uint8)
    factor = q.mean_factor(0.02, 49, 0.015 if result == "uint8" else 1.0)
    value = q.scaled(x.astype(np.int64).sum(1).astype(np.int32) - 49 * 30, np.full(target.block, factor))
    wanted = value if result == "float32" else q.to_bytes(value, q.Bytes(20, 20, 200)).astype(result)
    low, high = (20, 200) if result == "uint8" else (-np.inf, np.inf)
    kernel = pointwise.mean_kernel(ByteTypes("uint8", result), 3, 49, target)
    given = [x, np.full(target.block, factor), kernel_steps(Steps(30, low, high, 20), kernel.config)]
    assert run(kernel, target, tmp_path, given, np.empty(wanted.shape, result)).tobytes() == wanted.tobytes()


@pytest.mark.parametrize(("source", "result"), [("uint8", "int8"), ("int8", "uint8")])
def test_every_byte_of_a_function_of_one_number(source: str, result: str, tmp_path: Path) -> None:
    target, rng = targets.load("x86-64-v2"), np.random.default_rng(4)
    x = rng.integers(0, 256, 9001).astype(np.uint8).view(source)
    given, made = (
        TensorType((1, 9001), element=ELEMENTS[kind], quantization=Quantization(float(F32(scale)), 5))
        for kind, scale in ((source, 0.05), (result, 0.03))
    )
    number = TensorType((1, 1))
    nodes = Node("d", "dequantize", ("x",), number), Node("s", "silu", ("d",), number)
    table = ByteFunction(Node("x", "input", (), given), nodes).table({}, made).view(result)
    real = (x.astype(np.float64) - 5) * float(F32(0.05))
    wanted = np.rint((real / (1 + np.exp(-real))) / float(F32(0.03))) + 5
    wanted = np.clip(wanted, ELEMENTS[result].least, ELEMENTS[result].most).astype(result)
    kernel = pointwise.table_kernel(ByteTypes(source, result), 9001, target)
    assert run(kernel, target, tmp_path, [x, table], np.empty(9001, result)).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", TARGETS)
def test_every_byte_is_that_of_the_definition(layer: str, name: str, tmp_path: Path) -> None:
    check(LAYERS[layer], name, tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_random_layers_with_any_choice_of_the_model(seed: int, tmp_path: Path) -> None:
    """Sizes around the edges of tiles and blocks, and partitions that the model would not pick."""
    rng = np.random.default_rng(seed)

    def pair(least: int, most: int) -> tuple[int, int]:
        first, second = rng.integers(least, most, 2, endpoint=True).tolist()
        return first, second

    kernel, dilation = pair(1, 4), pair(1, 2)
    top, left, bottom, right = (*pair(0, 2), *pair(0, 2))
    low = [(kernel[a] - 1) * dilation[a] + 1 for a in (0, 1)]
    height, width = pair(0, 9)
    source, result = rng.choice(["uint8", "int8"], 2).tolist()
    residual = str(rng.choice(["", "uint8", "int8"]))
    layer = Layer(
        int(rng.integers(1, 40)), int(rng.integers(1, 70)), (low[0] + height, low[1] + width), kernel, pair(1, 3),
        (top, left, bottom, right), dilation, source=source, result=result, residual=residual, planar=seed % 4 == 3,
    )  # fmt: skip
    check(layer, TARGETS[seed % len(TARGETS)], tmp_path, seed, pick=int(rng.integers(0, 200)))


INSTRUCTIONS = {
    "x86-64-v3": r"vpmaddwd\s.*%ymm",
    "x86-64-v3-vnni": r"\{vex\}\s+vpdpbusd\s.*%ymm",
    "x86-64-v4": r"vpmaddwd\s.*%zmm",
    "x86-64-v4-vnni": r"vpdpbusd\s.*%zmm",
    "aarch64": r"mla\s.*4s",
    "aarch64-dotprod": r"sdot\s.*16b",
    "wasm32": r"i32x4.dot_i16x8_s",
    "riscv64": r"vma(?:cc|dd)\.v",
}


def assembly(layer: Layer, name: str) -> tuple[kernels.ByteConvConfig, str]:
    """The model's configuration of a layer, and its code."""
    target, types = targets.load(name), ByteTypes(layer.source, layer.result, layer.residual)
    geometry, _ = geometry_of(layer, target.block)
    choice = kernels.byte_candidates(geometry, types, target, "direct_int8")[0].choice
    config = kernels.configure_bytes(geometry, types, target, choice)
    return config, kernel_text(kernels.byte_kernel(config, target), target, "asm")


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_unit_of_the_target_multiplies(name: str) -> None:
    """Of a tile that fills the registers: one instruction for each of its sums and words. Residuals are not fused.

    For RISC-V LLVM adds up products of two words before it adds them to a sum."""
    config, text = assembly(Layer(64, 64, (14, 14), residual="uint8"), name)
    sums = config.tile.pixels * config.tile.blocks * config.micro.vectors
    words = min(4, config.words) // (2 if name == "riscv64" else 1)
    assert len(re.findall(INSTRUCTIONS[name], text)) >= sums * words
    assert not re.findall(r"^\t(?:call|callq|bl|jal|vfn?m\w*ps|fml[as]|vfn?m(?:acc|add|sac|sub))\b", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "source", "shift"),
    [("x86-64-v4-vnni", "int8", 128), ("aarch64-dotprod", "uint8", -128), ("x86-64-v3-vnni", "uint8", 0)],
)
def test_values_of_the_other_sign_are_shifted(name: str, source: str, shift: int) -> None:
    """An instruction takes values of one sign. Of others it is given x + shift, and the bias takes that back: with what
    the kernel reads, loops over bytes give the sums of the definition."""
    target, layer = targets.load(name), Layer(16, 8, (1, 1), source=source)
    d, (geometry, _) = draw(layer, 3), geometry_of(layer, target.block)
    types = ByteTypes(source, "uint8")
    config = kernels.configure_bytes(
        geometry, types, target, kernels.byte_candidates(geometry, types, target, "x")[0].choice
    )
    given = operands(d, pack_conv(d.weight, config), d.weight, config, planar=False)
    taken = np.dtype("int8" if name == "aarch64-dotprod" else "uint8")
    flipped = d.x.reshape(-1).view(np.uint8) ^ np.uint8(0x80 if shift else 0)
    values = flipped.view(taken).astype(np.int64)
    assert config.shift == shift
    assert values.tolist() == (d.x.reshape(-1).astype(np.int64) + shift).tolist()
    sums = given[2][:8] + d.weight.reshape(8, 16).astype(np.int64) @ values
    wanted = exact_sums(d.x[None], d.weight, d.bias, d.steps.zero_in, layer.attrs).reshape(-1)
    assert sums.tolist() == wanted.tolist()
    fill = given[4][:1].view(taken)
    assert fill.tolist() == [d.steps.zero_in + shift] * 4
