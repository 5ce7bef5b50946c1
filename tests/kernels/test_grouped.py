"""Convolutions of narrow groups: the reference, the weights they read, and nothing else that they touch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels.compare import RUNNABLE, network, relative_error

from cnncc import lang
from cnncc.ir import Graph, Node
from cnncc.kernels.cpu.grouped import GroupedConfig, pack_grouped
from cnncc.kernels.cpu.grouped_choice import GroupedChoice, configure, grouped_candidates, ranked_tiles
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.choices import Given, conv_key
from cnncc.kernels.shared.spec import blocks
from cnncc.machines import targets
from cnncc.module.cpu.build import build_program
from cnncc.module.cpu.objects import kernel_text
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.lower import lower
from cnncc.ops import reference
from cnncc.options import Options

BOUND = 2e-5
"""Share of the largest output: the conv's tolerance in the op table."""

CASES = {
    "a group for each half of a vector": ("relu; conv 3x3 64 groups 16 relu", "64x9x13"),
    "a group for each vector": ("relu; conv 3x3 64 groups 8", "64x9x13"),
    "an odd number of them": ("relu; conv 3x3 40 groups 5", "40x7x7"),
    "pairs": ("relu; conv 3x3 64 groups 32 /2", "64x15x13"),
    "of three channels": ("relu; conv 3x3 27 groups 9", "27x9x11"),
    "of five and seven": ("relu; conv 3x3 35 groups 7; conv 3x3 35 groups 5", "35x9x11"),
    "of twelve": ("relu; conv 3x3 36 groups 3 relu", "36x7x9"),
    "of twenty-four": ("relu; conv 3x3 72 groups 3", "72x7x9"),
    "more outputs": ("relu; conv 3x3 96 groups 8", "32x9x13"),
    "one input": ("relu; conv 3x3 64 groups 32; conv 3x3 96 groups 32", "32x9x13"),
    "fewer outputs": ("relu; conv 3x3 16 groups 8; conv 3x3 6 groups 2 silu", "64x7x9"),
    "one output": ("relu; conv 3x3 13 groups 13", "52x7x9"),
    "1x1": ("relu; conv 1x1 32 groups 8; conv 1x1 16 groups 2 /2", "32x9x11"),
    "5x5 with uneven pads": ("relu; conv 5x5 32 groups 8 pad 0,2,1,0", "32x11x11"),
    "11x11": ("relu; conv 11x11 32 groups 8 pad 5", "32x13x12"),
    "no padding": ("relu; conv 3x3 40 groups 5 pad 0", "40x9x9"),
    "dilated, strided": ("relu; conv 3x3 32 groups 4 dil 2 /2", "32x17x13"),
    "dilated beyond the image": ("relu; conv 3x3 16 groups 4 dil 9", "16x7x7"),
    "a row and a column": ("relu; conv 1x3 16 groups 4; conv 3x1 16 groups 4", "16x1x37"),
    "no bias": ("relu; conv 3x3 24 groups 3 nobias", "24x8x8"),
    "residual": ("relu; add { conv 3x3 20 groups 5 bn relu; conv 3x3 20 groups 4 bn | }; gelu", "20x9x13"),
    "on the input in NCHW": ("conv 3x3 9 groups 3 sigmoid", "3x9x13"),
}


def grouped_nodes(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.op == "conv" and n.attrs["groups"] > 1]


def given_choices(graph: Graph, target: str, seed: int, threads: int | None = 2) -> CpuProgram:
    """The program in which each grouped convolution has a candidate drawn from all, the cuts as well as the tile."""
    machine, options, rng = targets.load(target), Options(threads=threads, max_error=0), random.Random(seed)
    plain = lower(graph, machine, options)
    choices = {}
    for node in grouped_nodes(plain.graph):
        site = CpuSite(plain.graph, node, machine, options)
        choice = rng.choice(grouped_candidates(site, wide=True)).choice
        choices[conv_key(node, plain.graph[node.inputs[0]].type)] = Given(choice, "a test")
    program = lower(graph, machine, options, choices)
    families = [program.selections[n.name].calls[-1].kernel.family for n in grouped_nodes(program.graph)]
    assert set(families) == {"conv_grouped"}
    return program


def error_of(graph: Graph, target: str = "host", seed: int = 0) -> float:
    image = np.random.default_rng(0).standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    (wanted,) = reference.run(graph, [image]).values()
    return relative_error(build_program(given_choices(graph, target, seed)).model()(image), wanted)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(2))
def test_against_reference(case: str, seed: int) -> None:
    assert error_of(network(*CASES[case]), seed=seed) <= BOUND


@pytest.mark.parametrize("target", [t for t in RUNNABLE if t.startswith("x86-64")])
@pytest.mark.parametrize("case", ["pairs", "of three channels", "of twelve", "fewer outputs", "more outputs"])
def test_on_other_targets(case: str, target: str) -> None:
    assert error_of(network(*CASES[case]), target) <= BOUND


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_groups(data: st.DataObject) -> None:
    draw = data.draw
    sides, few = st.sampled_from([1, 2, 6, 7, 8, 9, 13, 14, 15, 16, 17, 29]), st.integers(1, 3)
    height, width, kh, kw = draw(sides), draw(sides), draw(few), draw(few)
    groups = draw(st.integers(2, 9))
    into, out = draw(st.integers(1, 16)), draw(st.integers(1, 16))
    into += into == out == 1
    pads = ",".join(str(draw(st.integers(0, 2))) for _ in range(4))
    size = f"{min(kh, height)}x{min(kw, width)}"
    # Of neighbours that fill blocks together none are merged, and the kernel is not asked.
    body = f"relu; conv {size} {groups * out} groups {groups} /{draw(few)}x{draw(few)} pad {pads} dil 1 relu"
    graph = network(body, f"{groups * into}x{height}x{width}")
    if into != 16 or out != 16:
        assert error_of(graph, seed=draw(st.integers(0, 99))) <= BOUND


SHAPES = [(into, factor, groups) for into in range(1, 17) for factor, groups in ((1, 3), (2, 16))]


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.parametrize("layer", ["relu; conv 3x3", "relu; conv 1x1", "conv 3x3"])
def test_no_more_than_twice_the_stored_weights_are_read(layer: str, target: str) -> None:
    """Stored are those of whole blocks of outputs: lanes that no channel has count as stored."""
    machine = targets.load(target)
    for into, factor, groups in SHAPES:
        out = groups * into * factor
        text = f"net t\ninput {groups * into}x14x14\n{layer} {out} groups {groups}\n".replace("; ", "\n")
        program = lower(lang.parse(text), machine)
        (node,) = grouped_nodes(program.graph)
        selection, (kh, kw) = program.selections[node.name], node.attrs["kernel"]
        stored = blocks(out, machine.block) * machine.block * into * kh * kw
        (read,) = (p.constant.shape[0] for p in selection.weights if p.name.endswith(".weight"))
        assert read <= 2 * stored, (into, factor, groups, selection.why)


def configs(target: str) -> Iterator[GroupedConfig]:
    for body, dims in CASES.values():
        program = lower(network(body, dims), targets.load(target), Options(max_error=0))
        for node in grouped_nodes(program.graph):
            site = CpuSite(program.graph, node, program.target, Options(max_error=0))
            for tile in ranked_tiles(configure(site, grouped_candidates(site)[0].choice).geometry, program.target):
                yield configure(site, GroupedChoice(tile, node.type.shape[2], 1))


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4", "aarch64"])
def test_packed_weights_hold_each_stored_one_once(target: str) -> None:
    for c in configs(target):
        g = c.geometry
        shape = (g.out_channels, c.group_in, *g.kernel)
        weight = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
        packed = pack_grouped(weight, c)
        assert len(packed) == c.weight_numbers
        assert np.array_equal(np.sort(packed[packed > 0]), weight.ravel())


@pytest.mark.parametrize("target", ["x86-64-v4", "aarch64", "riscv64", "wasm32"])
@pytest.mark.parametrize("case", ["pairs", "of three channels", "of twelve", "fewer outputs"])
def test_it_compiles_for(case: str, target: str) -> None:
    """Machines that are not here: LLVM makes code of it, with vectors."""
    for call in given_choices(network(*CASES[case]), target, 0, threads=None).calls:
        if call.kernel.family == "conv_grouped":
            text = kernel_text(call.kernel, targets.load(target), "ll")
            assert f"<{targets.load(target).lanes} x float>" in text


@pytest.mark.parametrize("cpu", ["x86-64-v4", "znver4"])
def test_half_vectors_where_groups_fill_them(cpu: str) -> None:
    """No rows are spread then. A processor that computes whole vectors in two halves takes them, if only these fit."""
    machine = replace(targets.load("x86-64-v4"), cpu=cpu)
    for groups, width, widths in ((5, 8, {8, 16}), (3, 24, {8, 16}), (4, 4, {16}), (3, 12, {16}), (5, 40, {8, 16})):
        graph = network(f"relu; conv 3x3 {groups * width} groups {groups}", f"{groups * width}x14x14")
        program = lower(graph, machine)
        (node,) = grouped_nodes(program.graph)
        site = CpuSite(program.graph, node, machine, Options())
        found = [configure(site, c.choice) for c in grouped_candidates(site)]
        assert {c.lanes for c in found} == widths
        assert all(not c.spread and c.aligned for c in found if c.lanes == 8 and c.tile.vectors == 1)
        if cpu == "znver4" and width == 8:
            assert program.selections[node.name].calls[-1].kernel.config.lanes == 8


@pytest.mark.parametrize(
    "case", ["a group for each vector", "an odd number of them", "of twenty-four", "dilated, strided"]
)
def test_half_vectors_are_right(case: str) -> None:
    """On this machine, whatever it would take itself."""
    graph, host = network(*CASES[case]), targets.host()
    plain, choices = lower(graph, host, Options(threads=2, max_error=0)), {}
    for node in grouped_nodes(plain.graph):
        site = CpuSite(plain.graph, node, host, Options())
        half = [c.choice for c in grouped_candidates(site, wide=True) if c.choice.tile.halves]
        if half:
            choices[conv_key(node, plain.graph[node.inputs[0]].type)] = Given(half[-1], "a test")
    if not choices:
        pytest.skip("halves of this machine's vectors are narrower than the groups")
    program = lower(graph, host, Options(threads=2, max_error=0), choices)
    image = np.random.default_rng(1).standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    (wanted,) = reference.run(graph, [image]).values()
    got = build_program(program).model()(image)
    assert np.abs(got - wanted).max() <= BOUND * np.abs(wanted).max()


def test_threads_get_even_parts() -> None:
    """Large images of few groups are cut along their rows; small ones of many groups along the panels."""
    large = next(c for c in configs_of("relu; conv 3x3 16 groups 2", "16x112x112"))
    small = next(c for c in configs_of("relu; conv 3x3 440 groups 55", "440x7x7"))
    assert large.row_units >= 4
    assert small.row_units <= 2
    assert small.units >= 8


def configs_of(body: str, dims: str) -> Iterator[GroupedConfig]:
    """Of the model's picks."""
    program = lower(network(body, dims), targets.load("x86-64-v3"))
    for node in grouped_nodes(program.graph):
        config = program.selections[node.name].calls[-1].kernel.config
        assert isinstance(config, GroupedConfig)
        yield replace(config)
