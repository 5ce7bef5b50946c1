"""An op besides conv whose kernels are chosen among algorithms: one is added at run time, and nothing else changes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from kernels.compare import network

from cnncc import api, lang, tune, weights
from cnncc.ir import Graph, Node
from cnncc.kernels.cpu import rules
from cnncc.kernels.cpu.algorithm import Cause, Measured
from cnncc.kernels.cpu.algorithms import ALGORITHMS, select_by_algorithm
from cnncc.kernels.cpu.dense import select_dense
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.choices import Given, KernelChoice, NodeKey, choice_key
from cnncc.kernels.shared.spec import Call, Selection
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.options import Options
from cnncc.report.profile import profile
from cnncc.report.profile.gaps import large_convolutions
from cnncc.report.profile.machine_limits import MachineLimits
from cnncc.report.profile.page import page
from cnncc.tune import layers
from cnncc.tune import network as tuning
from cnncc.tune.layers import Layer, Setting, alone, layer_program, layers_of
from cnncc.tune.search import Found, search_layer
from cnncc.tune.trial import Maker

HOST = targets.host()
ONE = Options(threads=1)


@dataclass(frozen=True)
class RowsChoice:
    algorithm: str = "rows"


@dataclass(frozen=True)
class Rows:
    """fc as it always was, under a name."""

    name: str = "rows"

    def applies(self, site: CpuSite) -> bool:
        return True

    def forecast(self, site: CpuSite) -> float:
        return 1.0

    def candidates(self, site: CpuSite, wide: bool = False) -> list[Candidate[RowsChoice]]:
        return [Candidate(RowsChoice(self.name), 1.0, 0, 0)]

    def calls(self, site: CpuSite, choice: RowsChoice, why: str) -> Selection:
        return replace(select_dense(site), why=f"{self.name}{why}")

    def kind(self, choice: RowsChoice) -> Hashable:
        return self.name

    def describe(self, choice: RowsChoice) -> str:
        return self.name

    def restored(self, stored: Mapping[str, Any]) -> RowsChoice:
        return RowsChoice(**stored)

    def weight_order(self, call: Call) -> Hashable:
        return self.name

    def work(self, graph: Graph, node: Node, call: Call) -> int:
        return 7

    def causes(self, layer: Measured, call: Call) -> list[Cause]:
        return [Cause("rows, one by one", 0.5 * sum(layer.seconds))]


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """As in the table: `RULES` follows it when it is imported."""
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ALGORITHMS, "fc", (Rows("quick"), Rows("slow"), Rows()))
    monkeypatch.setitem(rules.RULES, "fc", (select_by_algorithm,))  # type: ignore[misc,arg-type]


NET = network("relu; conv 3x3 16 relu; fc 24 relu; fc 10", "16x8x8")


def reasons(program: Any) -> list[str]:
    return [s.why for name, s in program.selections.items() if program.graph[name].op == "fc"]


class Timed:
    """A trial that takes as long as it is told."""

    def __init__(self, choice: Any, seconds: float) -> None:
        self.choice, self.seconds = choice, seconds

    def round(self) -> float:
        return self.seconds

    def agrees(self, other: Timed, max_error: float) -> bool:
        return True


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Layer]:
    """The layers that were measured, for which "quick" takes half as long as all others."""
    done: list[Layer] = []

    def make(choices: Sequence[KernelChoice]) -> Any:
        return [Timed(choice, 0.5 if choice.algorithm == "quick" else 1.0) for choice in choices]

    def instead(layer: Layer, setting: Setting, deadline: float) -> Found:
        done.append(layer)
        return search_layer(layer, setting, float("inf"), make)

    monkeypatch.setattr(tuning, "search_layer", instead)
    return done


def test_it_is_measured_beside_the_convolutions_and_chosen(measured: list[Layer]) -> None:
    given = tune.tune(NET, HOST, Options(threads=1, tune=100.0))
    assert sorted(layer.key.op for layer in measured) == ["conv", "fc", "fc"]
    assert {key.op: g.choice.algorithm for key, g in given.items()}["fc"] == "quick"
    program = lower(NET, HOST, ONE, given)
    assert all(why.startswith("quick; measured: 500 ms, model's pick 1e+03") for why in reasons(program))


def test_what_was_measured_of_it_is_kept(measured: list[Layer]) -> None:
    first = tune.tune(NET, HOST, Options(threads=1, tune=100.0))
    assert tune.tune(NET, HOST, Options(threads=1, tune=100.0)) == first
    assert len(measured) == 3


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_its_real_trials_agree_and_notice_a_wrong_one(dtype: str) -> None:
    setting = Setting(HOST, Options(threads=1, weights_dtype=dtype))
    layer = next(x for x in layers_of(lower(NET, HOST, setting.options), setting) if x.key.op == "fc")
    program = layer_program(layer.key, layer.pick, setting)
    assert [w.constant.element.name for w in program.selections["layer"].weights] == [dtype, "float32"]
    one, other = Maker(layer, setting)([layer.pick, RowsChoice("quick")])
    assert other.agrees(one, 1e-5)
    other.result = other.result + np.float32(0.01) * np.abs(other.result).max()
    assert not other.agrees(one, 1e-5)


BODIES = [
    "input 20x9x11\nrelu; conv 3x3 24 relu; maxpool 3x3 /2; avgpool 3x3 /1 pad 1; lrn; save a; upconv 3x3 20 /2\n"
    "crop 0,0 4x5; bn; save b; upsample 2 bilinear; pad 1 reflect; softmax; gap; fc 30 relu; fc 7; output",
    "input 12x8x8\nrelu; save a; concat { | conv 1x1 7 }; output\nfrom a; mul { | sigmoid }; output\n"
    "from a; topk 3; output\nfrom a; group_norm 3; output\n"
    "from a; matmul { | permute 12x8x8 axes 0,2,1 to 12x8x8 }; output",
]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("body", BODIES)
def test_a_layer_of_any_op_is_the_same_alone(body: str, batch: int) -> None:
    program = lower(weights.bind(lang.parse(f"net t\n{body}\n"), seed=0), HOST, Options(batch=batch, threads=1))
    setting = Setting(HOST, ONE)
    apart = set()
    for name in program.selections:
        node = program.graph[name]
        key = choice_key(node, [program.graph[source].type for source in node.inputs])
        site = alone(key, setting)
        if site is None:
            apart.add(node.op)
        else:
            assert site.node.attrs.keys() == node.attrs.keys()
    assert apart <= {"relayout", "relu"}


def test_a_layer_that_would_be_another_one_alone_says_so(
    monkeypatch: pytest.MonkeyPatch, measured: list[Layer]
) -> None:
    monkeypatch.setattr(layers, "alone", lambda key, setting: None)
    given = tune.tune(NET, HOST, Options(threads=1, tune=1.0))
    assert not measured
    assert {g.why for g in given.values()} == {
        "not measured: alone, this conv would be another node",
        "not measured: alone, this fc would be another node",
    }


def test_a_given_choice_is_for_its_layer_only() -> None:
    plain = lower(NET, HOST, ONE)
    keys = [layer.key for layer in layers_of(plain, Setting(HOST, ONE)) if isinstance(layer.key, NodeKey)]
    second = next(key for key in keys if key.result.shape == (1, 10))
    program = lower(NET, HOST, ONE, {second: Given(RowsChoice("slow"), "said so")})
    assert [why.partition(",")[0] for why in reasons(program)] == ["rows", "slow; said so"]


def test_it_is_profiled_and_its_gap_explained() -> None:
    graph = weights.bind(network("fc 6000 relu", "5000x1x1"), seed=0)
    build = api.build(graph, ONE)
    found = profile(build, runs=2)
    (step,) = (s for s in found.steps if s.flops)
    assert (step.algorithm, step.flops) == ("rows", 7)
    slow = tuple(replace(s, seconds=100 * s.limit) for s in found.steps)
    large = large_convolutions(build.program, slow, MachineLimits(1e11, 1e10))
    assert "rows, one by one" in {c.text for c in large.gaps[0].causes}
    assert "rows, one by one" in page(replace(found, large=large))
    assert np.isfinite(found.total)
