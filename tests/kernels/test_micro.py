"""The micro-kernel: its weights in the order of its steps, and what it keeps in registers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.compare import network

from cnncc.kernels.cpu.algorithms import find
from cnncc.kernels.cpu.conv_direct import pack_conv
from cnncc.kernels.cpu.micro import Micro, micro_of
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.cpu.winograd import pack_winograd
from cnncc.kernels.shared.winograd import matrices
from cnncc.machines import targets
from cnncc.machines.units import VectorUnit
from cnncc.module.lower import lower
from cnncc.options import Options

EDGES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
"""Around whole vectors and blocks."""


@st.composite
def micros(draw: st.DrawFn) -> Micro:
    lanes, depth = draw(st.sampled_from([1, 4, 8, 16])), draw(st.sampled_from([1, 2, 4]))
    unit = VectorUnit("int8", "int32", lanes, depth, 16, 2, 4)
    return Micro(unit, draw(st.sampled_from([4, 8, 16])))


@settings(max_examples=150, deadline=None)
@given(micros(), st.sampled_from(EDGES), st.sampled_from(EDGES), st.integers(0, 2))
def test_pack_is_what_a_naive_one_makes(micro: Micro, outputs: int, products: int, more: int) -> None:
    blocks, depth = -(-outputs // micro.block) + more, micro.unit.depth
    rows = np.random.default_rng(0).integers(-99, 99, (outputs, products)).astype(np.int8)
    packed = micro.pack(rows, blocks)
    assert packed.dtype == np.int8
    assert packed.shape == (-(-products // depth), blocks * micro.block, depth)
    for step, output, part in itertools.product(*map(range, packed.shape)):
        product = step * depth + part
        wanted = rows[output, product] if output < outputs and product < products else 0
        assert packed[step, output, part] == wanted


def test_no_products_are_no_steps() -> None:
    assert micro_of(targets.load("x86-64-v3")).pack(np.zeros((3, 0), np.float32), 1).shape == (0, 16, 1)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 15, 16, 17, 40]), st.sampled_from([3, 16, 17, 33]), st.data())
def test_packed_weights_lie_in_the_order_in_which_a_kernel_reads_them(cout: int, cin: int, data: st.DataObject) -> None:
    """Of any cut of the direct kernel and of Winograd, against loops that read them in order."""
    graph, target = network(f"relu; conv 3x3 {cout}", f"{cin}x9x11"), targets.load("x86-64-v3")
    program = lower(graph, target)
    node = next(n for n in program.graph.nodes if n.op == "conv")
    site = CpuSite(program.graph, node, target, Options())
    weight = np.random.default_rng(0).standard_normal((cout, cin, 3, 3)).astype(np.float32)
    for name, pack, naive in [("direct", pack_conv, naive_direct), ("winograd", pack_winograd, naive_winograd)]:
        choice = data.draw(st.sampled_from(find(name).candidates(site, wide=True))).choice
        config = find(name).calls(site, choice, "").calls[-1].kernel.config
        np.testing.assert_allclose(pack(weight, config), naive(weight, config), rtol=1e-6, atol=1e-7)


def naive_direct(weight: np.ndarray, c) -> list[float]:  # type: ignore[no-untyped-def]
    read = []
    for first, size in groups_of(c, c.group_out_blocks):
        for b, kh, kw, ch in itertools.product(
            range(c.group_in_blocks), range(3), range(3), range(c.geometry.in_block)
        ):
            i = b * c.geometry.in_block + ch
            for o in range(first, first + size):
                read.append(weight[o, i, kh, kw] if o < weight.shape[0] and i < weight.shape[1] else 0.0)
    return read


def naive_winograd(weight: np.ndarray, c) -> list[float]:  # type: ignore[no-untyped-def]
    g = np.array(matrices(c.m, 3).filter, float)
    points = np.einsum("ar,oirs,bs->oiab", g, weight.astype(float), g)
    read = []
    for first, size in groups_of(c, c.out_blocks):
        for p, q, i in itertools.product(range(c.edge), range(c.edge), range(c.in_blocks * c.block)):
            for o in range(first, first + size):
                read.append(points[o, i, p, q] if o < weight.shape[0] and i < weight.shape[1] else 0.0)
    return read


def groups_of(c, blocks: int) -> list[tuple[int, int]]:  # type: ignore[no-untyped-def]
    """First output and outputs of each group that the kernel computes at once."""
    return [
        ((section * (blocks // c.sections) + start + group * size) * c.block, size * c.block)
        for section in range(c.sections)
        for start, size, count in c.section_runs
        for group in range(count)
    ]


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64", "wasm32"])
def test_what_fits_is_counted_register_by_register(name: str) -> None:
    micro = micro_of(targets.load(name))
    for values, blocks in itertools.product(range(1, 30), range(1, 9)):
        sums = [(v, b, n) for v in range(values) for b in range(blocks) for n in range(micro.vectors)]
        weights = [(b, n) for b in range(blocks) for n in range(micro.vectors)]
        assert micro.sums(values, blocks) == len(sums)
        assert micro.fits(values, blocks) == (len(sums) + len(weights) + 1 <= micro.unit.registers)


def test_a_step_takes_as_long_as_what_is_busy_longest() -> None:
    micro = micro_of(targets.load("x86-64-v4"))
    many = micro.cycles(14, 2, bandwidth=1e9)
    assert many == pytest.approx(14 * 2 / 2 + 0.1 * 8 + 0.5)
    assert micro.cycles(1, 1, bandwidth=1e9) == pytest.approx(4 + 0.1 * 1 + 0.5)  # the latency
    assert micro.cycles(1, 1, bandwidth=1.0) == pytest.approx(4 * 17 + 0.1 * 1 + 0.5)  # 16 weights and a value
    assert micro.cycles(1, 1, bandwidth=1.0, uses=2) == pytest.approx(4 * 16.5 + 0.1 * 1 + 0.5)
    assert micro.cycles(14, 2, bandwidth=1e9, sharpness=4.0) > many
