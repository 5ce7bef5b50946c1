"""The algorithms of a convolution: what they offer, which one is chosen, and one that is added at run time."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.compare import network

from cnncc import api, weights
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.kernels.cpu import algorithms
from cnncc.kernels.cpu.algorithm import Cause, Measured
from cnncc.kernels.cpu.algorithms import ALGORITHMS, applying, find, select_by_algorithm
from cnncc.kernels.cpu.budget import SLOWER
from cnncc.kernels.cpu.conv_algorithm import Direct
from cnncc.kernels.cpu.conv_choice import DirectChoice, problem_of
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.cpu.tiles import Tile, choose_tile, fits_registers
from cnncc.kernels.cpu.winograd_choice import SECTIONS
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.convolution import conv_geometry
from cnncc.kernels.shared.spec import Call, Selection, blocks
from cnncc.kernels.shared.winograd import ERRORS
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.options import Options
from cnncc.report.profile import profile
from cnncc.report.profile.gaps import large_convolutions
from cnncc.report.profile.machine_limits import MachineLimits
from cnncc.report.profile.work import works
from cnncc.tune import kernels, store
from cnncc.tune.layers import Setting, layers_of
from cnncc.tune.search import Found

V3 = targets.load("x86-64-v3")
HOST = targets.host()
ONE = Options(threads=1)


def site_of(
    body: str, dims: str, max_error: float = 1e-5, budget: float = math.inf, target: str = "x86-64-v3"
) -> CpuSite:
    """The site of the last convolution of a network."""
    machine = targets.load(target)
    options = Options(max_error=max_error)
    program = lower(network(body, dims), machine, options)
    node = next(n for n in reversed(program.graph.nodes) if n.op == "conv")
    return CpuSite(program.graph, node, machine, options, budget=budget)


@st.composite
def convolutions(draw: st.DrawFn) -> CpuSite:
    """Small ones of all kinds, for targets with few and with many registers."""
    size, groups = draw(st.integers(1, 33)), draw(st.sampled_from([1, 1, 1, 2, 3]))
    cin, cout = (groups * draw(st.integers(1, 40)) for _ in range(2))
    k, stride = draw(st.sampled_from([1, 3, 3, 5, 7])), draw(st.sampled_from([1, 1, 2]))
    body = f"conv {k}x{k} {cout} /{stride} groups {groups}" if draw(st.integers(0, 5)) else f"dwconv {k}x{k}"
    plain = draw(st.integers(0, 5)) == 0
    max_error = draw(st.sampled_from([0.0, 3e-6, 1e-5, 1e-3]))
    budget = draw(st.sampled_from([0.0, 3e4, 1e5, 1e6, math.inf]))
    dims = f"{cin}x{size}x{draw(st.integers(1, 33))}"
    target = draw(st.sampled_from(["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"]))
    return site_of(("" if plain else "relu; ") + body, dims, max_error, budget, target)


def every_direct(site: CpuSite) -> set[tuple[int, int, bool]]:
    """Rows, pieces and padding of all cuts with the best tile: any number of units along the rows, each whole tiles."""
    g = conv_geometry(site)
    tile = choose_tile(problem_of(g, site.target), site.target)
    height, out = g.grid[0], blocks(g.out_channels, site.target.block) // g.groups
    rows = {min(height, math.ceil(math.ceil(height / n) / tile.rows) * tile.rows) for n in range(1, height + 1)}
    sections = {c for c in range(1, out + 1) if out % c == 0 and (c == 1 or (out // c) % tile.blocks == 0)}
    last = [(g.grid[a] - 1) * g.stride[a] + (g.kernel[a] - 1) * g.dilation[a] + g.origin[a] for a in (0, 1)]
    reaches_out = any(g.origin[a] < 0 or last[a] >= g.in_size[a] for a in (0, 1))
    padded = {False, reaches_out and g.in_block > 1}
    return {(r, c, p) for r in rows for c in sections for p in padded}


def every_winograd(site: CpuSite) -> set[tuple[int, int, int, int]]:
    """Tile size, tiles of a unit, pieces and blocks at once of all cuts whose error is allowed."""
    node, target = site.node, site.target
    height, width = node.type.chw[1:]
    out, found = blocks(node.attrs["out"], target.block), set()
    for (m, taps), error in ERRORS.items():
        if taps != node.attrs["kernel"][0] or error > site.options.max_error or m - m // 2 >= min(height, width):
            continue
        total = math.ceil(height / m) * math.ceil(width / m)
        counts = {math.ceil(total / n) for n in range(1, total + 1)}
        for tiles in (t for t in counts if t <= 64 and (t >= 6 or t == total)):
            for groups in (g for g in (1, 2, 4) if out % g == 0 and fits_registers(Tile(1, 1, g), target)):
                found |= {(m, tiles, c, groups) for c in SECTIONS if out // groups % c == 0}
    return found


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_candidates_are_all_that_a_brute_force_finds(site: CpuSite) -> None:
    by_name = {a.name: a for a in applying(site)}
    direct = [c.choice for c in by_name["direct"].candidates(site)]
    assert len(set(direct)) == len(direct)
    assert {(c.rows, c.sections, c.padded) for c in direct} == every_direct(site)
    if "winograd" in by_name:
        found = [c.choice for c in by_name["winograd"].candidates(site, wide=True)]
        assert len(set(found)) == len(found)
        cuts = {(c.m, c.tiles, c.sections, c.blocks) for c in found}
        # Those left out have more scratch than the second cache holds.
        assert cuts <= every_winograd(site)
        if site.target.l2_bytes >= 1 << 20:
            assert cuts == every_winograd(site)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_candidates_keep_to_the_bound_and_make_what_they_say(site: CpuSite) -> None:
    """For every algorithm: the error bound, workspace and scratch, and the choice from its stored form."""
    for algorithm in applying(site):
        narrow, wide = algorithm.candidates(site), algorithm.candidates(site, wide=True)
        assert {c.choice for c in narrow} <= {c.choice for c in wide}
        assert math.isfinite(algorithm.forecast(site)) == bool(narrow)
        for candidate in narrow[:3] + wide[-3:]:
            assert candidate.error <= site.options.max_error
            calls = algorithm.calls(site, candidate.choice, "").calls
            assert candidate.workspace_bytes == max(c.workspace_bytes for c in calls)
            assert candidate.scratch_bytes == max(c.kernel.scratch_bytes for c in calls)
            assert candidate.choice.algorithm == algorithm.name
            assert algorithm.restored(json.loads(json.dumps(asdict(candidate.choice)))) == candidate.choice


def naive_choice(site: CpuSite) -> Any:
    """What should be chosen, by looking at every pair of algorithms and every candidate."""
    order = applying(site)
    promised = [a.forecast(site) for a in order]
    at = len(order) - 1
    for i in reversed(range(at)):
        if promised[i] <= algorithms.CLEARLY * promised[at]:
            at = i
    options = order[at].candidates(site)
    least = min(c.cost for c in options)
    fastest = next(c for c in options if c.cost == least)

    def need(c: Candidate[Any]) -> int:
        return c.workspace_bytes + site.target.cores * c.scratch_bytes

    fitting = [c for c in options if need(c) <= site.budget]
    if fastest in fitting or not fitting:
        return fastest.choice
    best = min(c.cost for c in fitting)
    other = next(c for c in fitting if c.cost == best)
    return other.choice if best <= SLOWER * least else fastest.choice


@settings(max_examples=80, deadline=None)
@given(convolutions())
def test_the_choice_is_what_a_brute_force_finds(site: CpuSite) -> None:
    selection = select_by_algorithm(site)
    assert selection.choice == naive_choice(site)


def test_the_last_algorithm_applies_to_every_node() -> None:
    for body, dims in [("conv 3x3 8", "3x9x9"), ("relu; dwconv 3x3", "32x9x9"), ("relu; conv 3x3 32", "32x9x9")]:
        assert applying(site_of(body, dims))[-1].name == "direct"


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(CnnccError, match="no algorithm 'winogard'") as error:
        find("winogard")
    assert "winograd" in str(error.value.hint)


@dataclass(frozen=True)
class Copy(Direct):
    """The direct kernel by another name, that promises to take no time."""

    name: str = "copy"

    def forecast(self, site: CpuSite) -> float:
        return 0.0

    def describe(self, choice: DirectChoice) -> str:
        return f"copied {super().describe(choice)}"

    def causes(self, layer: Measured, call: Call) -> list[Cause]:
        return [Cause("copied by hand", 0.5 * sum(layer.seconds))]


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Copy:
    """An algorithm that no module of ours knows."""
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path / "cache"))
    copy = Copy()
    monkeypatch.setitem(ALGORITHMS, "conv", (copy, *ALGORITHMS["conv"]))
    return copy


def test_one_that_is_added_is_chosen_and_right(added: Copy) -> None:
    graph = weights.bind(network("relu; conv 3x3 32 relu", "32x14x14"), seed=0)
    build = api.build(graph, ONE)
    (selection,) = (s for s in build.program.selections.values() if s.choice)
    assert selection.choice is not None
    assert selection.choice.algorithm == "copy"
    x = np.random.default_rng(0).standard_normal((1, 32, 14, 14)).astype(np.float32)
    plain = api.build(graph, Options(threads=1, max_error=0.0))
    np.testing.assert_allclose(build.model()(x), plain.model()(x), rtol=0, atol=1e-5)


def test_one_that_is_added_is_tuned_and_stored(added: Copy, tmp_path: Any) -> None:
    # Of a fixed target: what the model thinks worth a trial differs between processors.
    (layer,) = layers_of(lower(network("relu; conv 3x3 32", "32x14x14"), V3), Setting(V3, ONE))
    assert layer.pick.algorithm == "copy"
    assert {c.algorithm for c in layer.candidates} >= {"copy", "direct", "winograd"}
    copied = next(c for c in layer.candidates if c.algorithm == "copy")
    entry = store.Entry(Found(copied, False, 1e-3, 2e-3, 3, 0, True), 1.0)
    store.write(tmp_path / "x.json", entry)
    assert store.read(tmp_path / "x.json") == entry


def test_what_was_stored_of_one_that_is_gone_is_ignored(added: Copy, tmp_path: Any, monkeypatch: Any) -> None:
    choice = DirectChoice(Tile(1, 5, 1), 2, 1, algorithm="copy")
    store.write(tmp_path / "x.json", store.Entry(Found(choice, False, 1e-3, 2e-3, 3, 0, True), 1.0))
    monkeypatch.setitem(ALGORITHMS, "conv", ALGORITHMS["conv"][1:])
    assert store.read(tmp_path / "x.json") is None


def test_one_that_is_added_is_in_the_report_of_kernels(added: Copy) -> None:
    (row,) = kernels.kernel_report(HOST, ONE, seconds=0.01, names=["squeezenet-1x1-56"])
    assert row.pick.startswith("copied copy ")


def test_one_that_is_added_is_in_the_profile(added: Copy) -> None:
    build = api.build(weights.bind(network("relu; conv 3x3 128 /2 relu", "128x56x56"), seed=0), ONE)
    found = profile(build, runs=2)
    (step,) = (s for s in found.steps if s.op.startswith("conv") and s.flops)
    assert step.algorithm == "copy"
    slow = tuple(replace(s, seconds=100 * s.limit) for s in found.steps)
    (gap,) = large_convolutions(build.program, slow, MachineLimits(1e11, 1e10)).gaps
    assert gap.algorithm == "copy"
    assert "copied by hand" in {c.text for c in gap.causes}


class Unwilling(Copy):
    """One of another weight order and kind, to see that both are asked for."""

    def kind(self, choice: DirectChoice) -> Hashable:
        return "unwilling"

    def work(self, graph: Graph, node: Node, call: Call) -> int:
        return 7

    def calls(self, site: CpuSite, choice: DirectChoice, why: str) -> Selection:
        return super().calls(site, choice, "; unwilling")


def test_it_alone_knows_its_work_and_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALGORITHMS, "conv", (Unwilling(), *ALGORITHMS["conv"]))
    program = lower(network("relu; conv 3x3 32", "32x14x14"), V3)
    assert [w.flops for w in works(program) if w.flops] == [7]
    assert any("; unwilling" in s.why for s in program.selections.values())
