"""Convolutions of every kind on sizes around the tile edges, for every target this machine can run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels.compare import RUNNABLE, network, relative_error, worst_error

from cnncc import passes
from cnncc.ir import Graph
from cnncc.kernels.cpu.conv_choice import DirectChoice
from cnncc.kernels.cpu.tiles import Problem, Tile, choose_tile, even_tiles, fits_registers, sums
from cnncc.kernels.shared.choices import Given, conv_key
from cnncc.machines import targets
from cnncc.module.cpu.build import build_program
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.lower import lower
from cnncc.ops import reference
from cnncc.options import Options

BOUND = 2e-5
"""Share of the largest output: the conv's tolerance in the op table."""

CASES = {
    "one pixel": ("conv 1x1 1 pad 0", "1x1x1"),
    "input in NCHW, 7x7/2": ("conv 7x7 16 /2 bn relu", "3x33x31"),
    "11x11/4": ("conv 11x11 24 /4 pad 0 relu", "3x63x47"),
    "channels below a block": ("relu; conv 3x3 5 relu", "7x9x9"),
    "channels just above a block": ("relu; conv 3x3 17 relu", "17x9x9"),
    "odd width": ("relu; conv 3x3 48", "16x5x29"),
    "row of one": ("relu; conv 3x3 16", "16x1x50"),
    "column of one": ("relu; conv 3x3 16", "16x50x1"),
    "asymmetric pads": ("relu; conv 3x3 16 pad 0,2,1,0", "16x9x11"),
    "pad larger than the kernel": ("relu; conv 1x1 16 pad 3,3,3,3", "8x4x4"),
    "kernel per axis": ("relu; conv 1x7 32; conv 7x1 32", "16x17x17"),
    "stride per axis": ("relu; conv 3x3 32 /2x1", "16x17x17"),
    "stride beyond the kernel": ("relu; conv 1x1 32 /3", "32x14x14"),
    "dilation": ("relu; conv 3x3 16 dil 4", "16x19x23"),
    "dilation beyond the image": ("relu; conv 3x3 16 dil 9", "16x7x7"),
    "strided and dilated": ("relu; conv 3x3 16 /2 dil 2", "16x21x21"),
    "1x1 wide": ("relu; conv 1x1 256", "64x7x7"),
    "1x1 one block": ("relu; conv 1x1 16", "128x14x14"),
    "7x7 image": ("relu; conv 3x3 64", "64x7x7"),
    "13x13 image": ("relu; conv 3x3 96", "32x13x13"),
    "28x28 image": ("relu; conv 3x3 32", "32x28x28"),
    "no bias": ("relu; conv 3x3 16 nobias", "16x8x8"),
    "residual and relu": ("relu; add { conv 3x3 20 bn relu; conv 3x3 20 bn | }; relu", "20x9x13"),
    "residual elsewhere": ("relu; add { conv 1x1 40 /2 bn | proj 3x3 40 /2 bn }; silu", "16x15x15"),
    "groups of whole blocks": ("relu; conv 3x3 64 groups 2", "64x9x9"),
    "groups below a block": ("relu; conv 3x3 32 groups 8", "32x9x9"),
    "groups that merge to one": ("relu; conv 3x3 15 groups 3", "9x9x9"),
    "grouped on the input": ("conv 3x3 32 groups 2", "32x9x9"),
    "channel multiplier": ("relu; conv 3x3 32 groups 16", "16x9x9"),
    "depthwise": ("relu; dwconv 3x3 bn relu6", "33x15x17"),
    "depthwise wide": ("relu; dwconv 3x3", "16x5x37"),
    "depthwise on a row": ("relu; dwconv 3x3 /2", "16x1x17"),
    "depthwise strided": ("relu; dwconv 5x5 /2", "16x31x29"),
    "depthwise dilated": ("relu; dwconv 3x3 dil 2", "16x12x12"),
    "transposed 2x2/2": ("relu; upconv 2x2 32 /2", "48x7x9"),
    "transposed 3x3/2": ("relu; upconv 3x3 24 /2 pad 1 outpad 1", "16x7x9"),
    "transposed, stride beyond the kernel": ("relu; upconv 1x1 16 /3 outpad 2", "16x5x5"),
    "transposed, dilated": ("relu; upconv 3x3 16 /2 dil 2", "16x6x6"),
    "transposed, grouped": ("relu; upconv 4x4 32 /2 pad 1 groups 2", "32x6x6"),
}


@pytest.mark.parametrize("case", CASES)
def test_against_reference(case: str) -> None:
    body, dims = CASES[case]
    assert worst_error(network(body, dims)) <= BOUND


@pytest.mark.parametrize("target", [t for t in RUNNABLE if t != "host"])
def test_on_other_targets(target: str) -> None:
    body = "conv 7x7 40 /2 bn relu; add { conv 3x3 40 bn | }; relu; dwconv 3x3 relu; conv 1x1 17; upconv 2x2 16 /2"
    assert worst_error(network(body, "3x29x31"), target) <= BOUND


@pytest.mark.parametrize("activation", "relu relu6 leaky_relu sigmoid tanh hard_sigmoid hard_swish silu".split())
def test_fused_activation(activation: str) -> None:
    graph = network(f"relu; conv 3x3 16 {activation}", "16x6x7")
    assert worst_error(graph) <= BOUND


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batches(batch: int) -> None:
    body = "conv 3x3 32 /2 relu; concat { conv 1x1 16 | conv 3x3 32 | }; add { conv 1x1 80 | }; relu; fc 11"
    assert worst_error(network(body, "3x15x15"), batch=batch) <= BOUND


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_convolutions(data: st.DataObject) -> None:
    draw = data.draw
    sides = st.sampled_from([1, 2, 6, 7, 8, 9, 13, 14, 15, 16, 17, 27, 28, 29, 31, 32, 33])
    channels = st.sampled_from([1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64])
    height, width, kh, kw = draw(sides), draw(sides), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    kh, kw = min(kh, height), min(kw, width)
    pads = ",".join(str(draw(st.integers(0, 2))) for _ in range(4))
    body = f"relu; conv {kh}x{kw} {draw(channels)} /{draw(st.integers(1, 3))}x{draw(st.integers(1, 3))} pad {pads} relu"
    assert worst_error(network(body, f"{draw(channels)}x{height}x{width}")) <= BOUND


PADDED = {
    "3x3/2": ("relu; conv 3x3 64 /2", "32x15x15"),
    "5x5": ("relu; conv 5x5 32 groups 2", "64x9x11"),
    "uneven pads": ("relu; conv 3x3 33 pad 0,2,1,0", "20x9x8"),
    "only below": ("relu; conv 3x3 32 /2 pad 0,0,1,1", "16x10x10"),
    "dilated": ("relu; conv 3x3 32 dil 3", "16x7x13"),
    "residual": ("relu; add { conv 3x3 32 | }; relu", "32x7x7"),
}


@pytest.mark.parametrize("case", PADDED)
@pytest.mark.parametrize("cut", [(1, 1), (2, 1), (7, 2), (3, 2)])
def test_an_image_padded_once(case: str, cut: tuple[int, int]) -> None:
    """The direct kernel on a copy of the image between zeros, however it is cut."""
    body, dims = PADDED[case]
    graph = network(body, dims)
    rows, sections = cut

    def choice(tile: Tile, groups: int) -> DirectChoice:
        return DirectChoice(replace(tile, blocks=1), rows, sections if groups % sections == 0 else 1, padded=True)

    program = given_program(graph, choice)
    assert [k.family for c in program.calls if (k := c.kernel).family in ("pad", "conv_direct")] == [
        "pad",
        "conv_direct",
    ]
    image = np.random.default_rng(0).standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    wanted = reference.run(graph, [image], keep_all=False)
    got = build_program(program).model()(image)
    assert relative_error(got, wanted[graph.outputs[0]]) <= BOUND


@pytest.mark.parametrize(("batch", "threads"), [(3, 2), (2, 40)])
def test_a_padded_image_in_a_batch(batch: int, threads: int) -> None:
    """Each image has a copy of its own; threads may be more than there are pieces of work."""
    graph = network(*PADDED["3x3/2"])
    program = given_program(graph, lambda tile, groups: DirectChoice(tile, 7, 1, padded=True), batch, threads)
    assert "pad" in {call.kernel.family for call in program.calls}
    images = np.random.default_rng(0).standard_normal((batch, *graph.inputs[0].type.shape[1:])).astype(np.float32)
    wanted = reference.run(passes.with_batch(graph, batch), [images])
    got = build_program(program).model()(images)
    assert relative_error(got, wanted[graph.outputs[0]]) <= BOUND


def test_a_padded_phase_is_one_phase() -> None:
    """A transposed convolution says how many phases it has, not how many calls."""
    graph = network("relu; upconv 3x3 512 /1", "512x14x14")
    program = lower(graph, targets.load("x86-64-v4"), Options(threads=2))
    (node,) = (n.name for n in program.graph.nodes if n.op == "conv_transpose")
    selection = program.selections[node]
    assert [call.kernel.family for call in selection.calls] == ["pad", "conv_direct"]
    assert selection.why.startswith("1 phase of the stride")


def given_program(
    graph: Graph, choose: Callable[[Tile, int], DirectChoice], batch: int = 1, threads: int = 2
) -> CpuProgram:
    """The program of a network whose only convolution is computed as `choose` says, from the model's register tile and
    the output blocks of a group."""
    target = targets.load("host")
    plain = lower(graph, target, Options(batch=batch, threads=threads, max_error=0))
    (node,) = (n for n in plain.graph.nodes if n.op == "conv")
    config = plain.selections[node.name].calls[-1].kernel.config
    key = conv_key(node, plain.graph[node.inputs[0]].type)
    given = Given(choose(config.tile, config.group_out_blocks), "a test")
    return lower(graph, target, Options(batch=batch, threads=threads, max_error=0), {key: given})


def test_large_weights_on_a_small_image_are_read_once() -> None:
    """The image is padded once, so that no unit need gather it again for the next output blocks; where weights are
    small, gathering the rows of each unit costs less."""
    large = lower(network("relu; conv 3x3 512 /2", "512x14x14"), targets.load("x86-64-v4"), Options(threads=2))
    small = lower(network("relu; conv 3x3 32 /2", "32x56x56"), targets.load("x86-64-v4"), Options(threads=2))
    assert "pad" in {c.kernel.family for c in large.calls}
    assert "pad" not in {c.kernel.family for c in small.calls}


def test_tile_covers_exactly() -> None:
    for total in range(1, 80):
        for largest in range(1, 30):
            runs = even_tiles(total, largest)
            covered = [start + i * size + p for start, size, count in runs for i in range(count) for p in range(size)]
            assert covered == list(range(total))
            assert all(size <= largest for _, size, _ in runs)


def test_tiles_fit_the_registers() -> None:
    for name in targets.names():
        target = targets.load(name)
        for height, width, blocks, reduction in [(56, 56, 4, 576), (7, 7, 32, 4608), (1, 1, 1, 16), (27, 27, 3, 1200)]:
            assert fits_registers(choose_tile(Problem(height, width, blocks, reduction, 1), target), target)


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.parametrize("kernel", [3, 7])
def test_tiles_of_unrolled_rows_keep_their_pixels_or_hide_latency(name: str, kernel: int) -> None:
    """On three channels neighbours share pixels, which want registers too: all are kept, unless too few sums would be
    left to keep the multipliers busy (16 registers, 7 taps)."""
    target = targets.load(name)
    program = lower(network(f"conv {kernel}x{kernel} 64 /2", "3x224x224"), target)
    (config,) = (c.kernel.config for c in program.calls if c.kernel.family == "conv_direct")
    problem = Problem(112, 112, 64 // target.block, 3 * kernel**2, kernel**2, (kernel, 2))
    needed = target.floats.ports * target.floats.latency
    assert sums(config.tile, target) >= needed
    assert fits_registers(config.tile, target)
    fits = problem.fits(config.tile, target)
    assert fits == (target.floats.registers > 16 or kernel == 3)
    assert fits or sums(config.tile, target) <= 2 * needed


def test_every_target_is_compared() -> None:
    assert "host" in RUNNABLE
    assert np.isfinite(worst_error(network("relu")))
