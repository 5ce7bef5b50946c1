"""Some cases of the fuzzer of the ONNX importer, always the same, and that it sees what it looks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnncc.frontends.onnx.convert import RULES
from tests.fuzz import onnx_models
from tests.fuzz.onnx_models import Outcome, Report, attempt, fuzz
from tests.fuzz.onnx_seeds import official, own

SEEDS = own()
ONLY_OFFICIAL = {"AffineGrid", "BitShift", "Col2Im", "EyeLike", "MaxUnpool", "NonMaxSuppression", "OneHot", "Scatter"}
"""Ops whose seeds are node tests of the package onnx."""


def test_there_are_seeds_for_every_op() -> None:
    ops = {node.op_type for _, model in SEEDS for node in model.graph.node}
    assert RULES.keys() - ops <= ONLY_OFFICIAL


@pytest.mark.parametrize("name", [name for name, _ in SEEDS])
def test_seeds_are_right(name: str) -> None:
    outcome, detail = attempt(dict(SEEDS)[name].SerializeToString(), 1, 0, lambda phase: None)
    assert outcome in (Outcome.AGREES, Outcome.IMPORTED, Outcome.ALONE), detail


def test_cases_are_read_or_refused() -> None:
    report = fuzz(range(700), SEEDS)
    assert report.counts.total() == 700
    assert not report.bad, "\n".join(report.lines())
    assert report.counts[Outcome.REFUSED] > 300
    assert report.counts[Outcome.AGREES] > 100


@pytest.mark.slow
def test_official_seeds_have_every_op() -> None:
    assert {node.op_type for _, model in official() for node in model.graph.node} >= ONLY_OFFICIAL


def spin(*args: Any) -> Any:
    while True:
        pass


def grow(*args: Any) -> tuple[str, str]:
    np.ones(1 << 28).sum()
    return Outcome.IMPORTED, ""


def grow_far(*args: Any) -> Any:
    return np.ones(1 << 34)


def die(*args: Any) -> Any:
    os._exit(1)


def fail(*args: Any) -> Any:
    raise KeyError("what")


MISTAKES: dict[str, Callable[..., Any]] = {
    Outcome.HANG: spin,
    Outcome.MEMORY: grow,
    Outcome.CRASH: die,
    Outcome.TRACEBACK: fail,
}


@pytest.mark.parametrize("outcome", MISTAKES)
def test_mistakes_are_seen(monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    monkeypatch.setattr(onnx_models, "attempt", MISTAKES[outcome])
    if outcome == Outcome.HANG:
        monkeypatch.setattr(onnx_models, "SECONDS", 0.5)
    report = fuzz(range(1), SEEDS)
    assert report.counts == {outcome: 1}
    assert report.bad == 1


def test_an_array_beyond_all_memory_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_models, "attempt", grow_far)
    assert fuzz(range(1), SEEDS).counts == {Outcome.MEMORY: 1}


def test_results_that_differ_are_seen() -> None:
    right = np.array([1.0, np.inf, np.nan])
    assert onnx_models.difference(right, right) == ""
    assert onnx_models.difference(right + 0.1, right) == "by 0.1 of 1"
    assert onnx_models.difference(np.array([np.nan, 1, 1]), right) == "by inf of 1"
    assert onnx_models.difference(np.ones(2), right) == "shape (2,), expected (3,)"


def test_refusals_that_cannot_be_shown_are_seen() -> None:
    assert onnx_models.is_clear(ValueError("a line\n  and one more"))
    assert not any(map(onnx_models.is_clear, map(ValueError, ("", "a\x1b[1m", "x" * 10**5, "please report it"))))


def test_the_same_mistake_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    for number in (3, 5):
        report.add(number, Outcome.TRACEBACK, "seed 1", 'File "/cnncc/a.py", line 7, in f\nKeyError: 1')
    assert capsys.readouterr().out.count("case ") == 1
    assert list(report.lines())[-1].split() == ('2 x traceback: a.py", line 7, in f KeyError: 1, cases [3, 5]'.split())
