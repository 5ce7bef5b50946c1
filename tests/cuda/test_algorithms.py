"""The algorithms of a convolution on a GPU: what they offer, which one is chosen, one given, one added at run time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.compare import network

from cnncc.base.errors import CnnccError
from cnncc.kernels.gpu import algorithms
from cnncc.kernels.gpu.algorithms import ALGORITHMS, select_by_algorithm
from cnncc.kernels.gpu.conv import GpuDirectChoice
from cnncc.kernels.gpu.conv_algorithm import GpuDirect
from cnncc.kernels.gpu.model import GpuTile
from cnncc.kernels.gpu.spec import GpuSite
from cnncc.kernels.gpu.winograd import GpuWinogradChoice
from cnncc.kernels.shared.algorithm import Algorithm, Candidate
from cnncc.kernels.shared.choices import Given, choice_key
from cnncc.machines import gpus
from cnncc.module.lower import lower
from cnncc.options import Options

TILE = GpuTile(32, 32, 4, 4, 8)


def site_of(body: str, dims: str, target: str = "cuda-sm_80", **options: Any) -> GpuSite:
    """The site of the last convolution of a network."""
    gpu, chosen = gpus.load(target), Options(**options)
    program = lower(network(body, dims), gpu, chosen)
    node = next(n for n in reversed(program.graph.nodes) if n.op == "conv")
    return GpuSite(program.graph, node, gpu, chosen, program.plan.placements)


@st.composite
def convolutions(draw: st.DrawFn) -> GpuSite:
    """Of all kinds, large enough for each algorithm to be worth it somewhere."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    cin, cout = (groups * draw(st.integers(1, 80)) for _ in range(2))
    k, stride = draw(st.sampled_from([1, 3, 3, 3, 5])), draw(st.sampled_from([1, 1, 2]))
    body = draw(st.sampled_from([f"conv {k}x{k} {cout} /{stride} groups {groups}"] * 3 + [f"dwconv {k}x{k}"]))
    plain = draw(st.integers(0, 5)) == 0
    return site_of(
        ("" if plain else "relu; ") + body,
        f"{cin}x{draw(st.integers(1, 90))}x{draw(st.integers(1, 90))}",
        draw(st.sampled_from(["cuda-sm_75", "cuda-sm_80", "cuda-sm_90"])),
        batch=draw(st.sampled_from([1, 3])),
        dtype=draw(st.sampled_from(["float32", "float32", "float16"])),  # bfloat16 takes the same tiles
        max_error=draw(st.sampled_from([0.0, 2e-6, 1e-5])),
    )


def applying(site: GpuSite) -> list[Algorithm[GpuSite, Any]]:
    return [a for a in ALGORITHMS["conv"] if a.applies(site)]


def naive_choice(site: GpuSite) -> Any:
    """What should be chosen, by looking at every pair of candidates: one that no other beats."""
    every = [c for a in applying(site) for c in a.candidates(site)]

    def beats(a: Candidate[Any], b: Candidate[Any]) -> bool:
        """By any margin, unless only one of them is exact: the other must be clearly faster."""
        if bool(a.error) == bool(b.error):
            return a.cost < b.cost
        return a.cost < algorithms.CLEARLY * b.cost if a.error else b.cost >= algorithms.CLEARLY * a.cost

    return next(c.choice for c in every if not any(beats(other, c) for other in every))


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_the_choice_is_what_a_brute_force_finds(site: GpuSite) -> None:
    assert select_by_algorithm(site).choice == naive_choice(site)


@settings(max_examples=25, deadline=None)
@given(convolutions())
def test_candidates_keep_to_the_bound_and_make_what_they_say(site: GpuSite) -> None:
    for algorithm in applying(site):
        candidates = algorithm.candidates(site)
        assert len({c.choice for c in candidates}) == len(candidates)
        for candidate in candidates[:2] + candidates[-2:]:
            assert candidate.error <= site.options.max_error
            selection = algorithm.calls(site, candidate.choice, "; asked for")
            assert selection.why.endswith("; asked for")
            assert candidate.workspace_bytes == max(c.workspace_bytes for c in selection.calls)
            assert candidate.choice.algorithm == algorithm.name


@pytest.mark.parametrize(("body", "names"), [
    ("relu; dwconv 3x3", ["depthwise", "direct"]),
    ("relu; conv 3x3 64", ["winograd", "direct"]),
    ("conv 3x3 64", ["direct"]),
    ("relu; conv 3x3 64 /2", ["direct"]),
    ("relu; conv 3x3 64 groups 2", ["direct"]),
])  # fmt: skip
def test_where_each_applies(body: str, names: list[str]) -> None:
    """The first of them is the cheapest here."""
    site = site_of(body, "64x112x112")
    assert [a.name for a in applying(site)] == names
    choice = select_by_algorithm(site).choice
    assert choice is not None
    assert choice.algorithm == names[0]


def test_the_reason_compares_the_algorithms() -> None:
    why = select_by_algorithm(site_of("relu; conv 3x3 64", "64x112x112")).why
    assert why.startswith("F(4x4, 3x3), tile ")
    assert why.endswith(" of the direct kernel's predicted time")


@dataclass(frozen=True)
class Promising(GpuDirect):
    """The direct kernel by another name, that promises a share of its time."""

    name: str = "promising"
    share: float = 1e-3
    error: float = 0.0

    def candidates(self, site: GpuSite) -> list[Candidate[GpuDirectChoice]]:
        return [replace(c, cost=self.share * c.cost, error=self.error) for c in super().candidates(site)]


@pytest.mark.parametrize(("share", "error", "chosen"), [
    (0.99, 0.0, "promising"),
    (1.01, 0.0, "direct"),
    (0.84, 1e-6, "promising"),
    (0.86, 1e-6, "direct"),
])  # fmt: skip
def test_one_that_is_added_is_chosen_if_it_is_cheapest(
    share: float, error: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clearly, if it has an error."""
    monkeypatch.setitem(ALGORITHMS, "conv", (*ALGORITHMS["conv"], Promising("promising", share, error)))
    program = lower(network("relu; conv 3x3 64 /2", "64x56x56"), gpus.load("cuda-sm_80"), Options())
    (choice,) = (s.choice for s in program.selections.values() if s.choice)
    assert choice.algorithm == chosen


@pytest.mark.parametrize("choice", [
    GpuDirectChoice(TILE, 1),
    GpuDirectChoice(TILE, 3),
    GpuWinogradChoice(2, TILE),
])  # fmt: skip
def test_a_given_choice_is_taken_for_its_layer_only(choice: Any) -> None:
    gpu, body = gpus.load("cuda-sm_80"), "relu; conv 3x3 64; conv 3x3 64 /2"
    plain = lower(network(body, "64x56x56"), gpu, Options())
    first, second = (n for n in plain.graph.nodes if n.op == "conv")
    key = choice_key(first, [plain.graph[name].type for name in first.inputs])
    program = lower(network(body, "64x56x56"), gpu, Options(), {key: Given(choice, "said so")})
    assert program.selections[first.name].choice == choice
    assert program.selections[first.name].why.endswith("; said so")
    assert program.selections[second.name].choice == plain.selections[second.name].choice


def test_the_order_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, gpu = network("relu; conv 3x3 64; dwconv 3x3; conv 3x3 64 /2", "64x112x112"), gpus.load("cuda-sm_80")
    plain = lower(graph, gpu, Options())
    monkeypatch.setitem(ALGORITHMS, "conv", ALGORITHMS["conv"][::-1])
    turned = lower(graph, gpu, Options())
    assert [s.choice for s in turned.selections.values()] == [s.choice for s in plain.selections.values()]
    assert {s.choice.algorithm for s in plain.selections.values() if s.choice} == {"winograd", "depthwise", "direct"}


def test_a_given_choice_of_no_algorithm_there_is_refused() -> None:
    gpu, graph = gpus.load("cuda-sm_80"), network("relu; dwconv 3x3", "64x56x56")
    plain = lower(graph, gpu, Options())
    (node,) = (n for n in plain.graph.nodes if n.op == "conv")
    key = choice_key(node, [plain.graph[name].type for name in node.inputs])
    with pytest.raises(CnnccError, match="no algorithm 'winograd'"):
        lower(graph, gpu, Options(), {key: Given(GpuWinogradChoice(2, TILE), "said so")})
