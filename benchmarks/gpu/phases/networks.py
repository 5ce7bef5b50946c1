"""Whole networks in every type, and from PTX: the first run against the reference in float64; later ones, which are
from a graph, against the first."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnncc.report import check
from gpu.context import Run
from gpu.packed import options

BUDGET = 80
RUNS = 3
"""After the first; the second of a model makes its graph."""


def items(run: Run) -> list[str]:
    return [job.key for job in run.pack.plan.networks]


def one(run: Run, item: str) -> dict[str, Any]:
    job = run.job(item)
    source, inputs = run.pack.source(job), list(run.pack.inputs(job).values())
    model = run.model(job)
    first = model.run_in(model.new_arena(), inputs)
    later = [model.run_in(model.new_arena(), inputs) for _ in range(RUNS)]
    device = model.info["device"]
    model.release()
    bounds = check.tolerances(source, options(job, run.pack.target).dtype)
    checked = [
        check.compare_layer(name, source[name].op, got, expected, bounds[name])
        for name, got, expected in zip(source.outputs, first, run.pack.expected(job.net), strict=True)
    ]
    same = all(np.array_equal(a, b) for outputs in later for a, b in zip(first, outputs, strict=True))
    graph = device["graph"] == "from the second run on"
    code = device["code"].startswith("compute_") == job.ptx
    return {
        "passed": all(layer.passed for layer in checked) and same and graph and code,
        "error": max(layer.error for layer in checked),
        "allowed": max(layer.allowed for layer in checked),
        "graph_run_equals_first": same,
        "device": device,
    }
