"""Every family of kernels, layer by layer, against the reference in float64."""

from __future__ import annotations

import math
from typing import Any

from cnncc.module.built import traced
from cnncc.report import check
from gpu.context import Run
from gpu.packed import options

BUDGET = 60


def items(run: Run) -> list[str]:
    return [job.key for job in run.pack.plan.families]


def one(run: Run, item: str) -> dict[str, Any]:
    job = run.job(item)
    program, source, inputs = run.pack.program(job), run.pack.source(job), run.pack.inputs(job)
    model = run.model(job)
    outputs = model.run_in(model.new_arena(), list(inputs.values()))
    got = traced(program, model.peek(program.plan.bytes), outputs)
    device = model.info["device"]  # after the release it tells nothing
    model.release()
    got |= zip(source.outputs, outputs, strict=True)
    report = check.checked_values(source, inputs, got, options(job, run.pack.target))
    worst = max(report.layers, key=_share)
    failed = report.first_failure
    return {
        "passed": report.passed,
        "layers": len(report.layers),
        "kernels": len(program.kernels),
        "worst": {"layer": worst.name, "op": worst.op, "error": worst.error, "allowed": worst.allowed},
        "first_failure": None if failed is None else str(failed),
        "device": device,
    }


def _share(layer: check.LayerCheck) -> float:
    """The error of a layer as a share of what is allowed, of which layers on bytes have nothing."""
    if math.isnan(layer.error):
        return math.inf
    return layer.error / layer.allowed if layer.allowed else math.inf if layer.error else 0.0
