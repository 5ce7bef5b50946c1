"""An op besides conv whose kernels are chosen among algorithms: one is added at run time, and nothing else changes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from kernels.compare import network

from cnncc import api, tune, weights
from cnncc.ir import Graph, Node
from cnncc.kernels.cpu import rules
from cnncc.kernels.cpu.algorithm import Cause, Measured
from cnncc.kernels.cpu.algorithms import ALGORITHMS, select_by_algorithm
from cnncc.kernels.cpu.dense import select_dense
from cnncc.kernels.cpu.site import CpuSite
from cnncc.kernels.shared.algorithm import Candidate
from cnncc.kernels.shared.choices import Given
from cnncc.kernels.shared.spec import Call, Selection
from cnncc.machines import targets
from cnncc.module.lower import lower
from cnncc.options import Options
from cnncc.report.profile import profile
from cnncc.report.profile.gaps import large_convolutions
from cnncc.report.profile.machine_limits import MachineLimits
from cnncc.report.profile.page import page
from cnncc.tune.layers import NodeKey, Setting, layers_of, unmeasured

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


def test_it_is_tuned_beside_the_convolutions() -> None:
    """A conv is measured. The fc are not, and say so."""
    given = tune.tune(NET, HOST, Options(threads=1, tune=0.01))
    found = {key.op: g.why for key, g in given.items() if isinstance(key, NodeKey)}
    assert found == {"fc": "not measured: tuning makes no network of one fc"}
    assert sum(g.why.startswith("measured: ") for g in given.values()) == 1
    assert all("; not measured: " in why for why in reasons(lower(NET, HOST, ONE, given)))


def test_a_given_choice_is_for_its_layer_only() -> None:
    plain = lower(NET, HOST, ONE)
    first, second = unmeasured(plain)
    assert {layer.key for layer in layers_of(plain, Setting(HOST, ONE))}.isdisjoint({first, second})
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
