"""Scales in a file beside the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from quantization.test_rewrite import RESIDUAL

from cnncc import lang, weights
from cnncc.base.errors import CnnccError
from cnncc.ir.types import Quantization
from cnncc.quantization import scheme
from cnncc.quantization.scheme import Scheme


def test_a_scheme_is_read_as_it_was_written(tmp_path: Path) -> None:
    graph = weights.bind(lang.parse(RESIDUAL), seed=0)
    values = {"input": Quantization(0.5, 3), "x": Quantization(1.1754943508222875e-38, 255)}
    known = Scheme(values, frozenset({"a", "b"}), {"method": "mse"})
    scheme.save(graph, known, tmp_path / "q.safetensors")
    assert scheme.load(tmp_path / "q.safetensors") == known
    assert weights.bind(lang.parse(RESIDUAL), tmp_path / "q.safetensors").constants.keys() == graph.constants.keys()


def test_other_files_have_none(tmp_path: Path) -> None:
    weights.save(weights.bind(lang.parse(RESIDUAL), seed=0), tmp_path / "w.safetensors")
    assert scheme.load(tmp_path / "w.safetensors") is None


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ({"version": 9}, "version 9"),
        ({"version": 1, "values": {"x": [0.0, 3]}, "keep": [], "about": {}}, "damaged"),
        ({"version": 1, "values": {"x": 3}, "keep": [], "about": {}}, "damaged"),
        ({"version": 1, "values": {}, "keep": []}, "damaged"),
    ],
)
def test_a_damaged_scheme_is_told(stored: dict[str, object], told: str) -> None:
    with pytest.raises(CnnccError, match=told):
        scheme.from_json(stored)
