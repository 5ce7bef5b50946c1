"""Two orders in which the blocks of a product take its tiles: in the bands that the model chose (A), and one column
after another, or one row after another where the band is a column (B)."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnncc.module.gpu.program import kernel_of
from gpu.context import Run
from gpu.launches import Launches, Loaded, in_other_order

BUDGET = 35


def items(run: Run) -> list[str]:
    return [job.key for job in run.pack.plan.raster]


def one(run: Run, item: str) -> dict[str, Any]:
    job = run.job(item)
    loaded = Loaded.of(run.driver, run.pack, job, run.weights, run.until)
    first = Launches(loaded, *run.pack.code(job))
    second = Launches(loaded, *run.pack.code(job, "raster."), in_other_order)
    outputs = first.run(run.stream), second.run(run.stream)
    same = all(np.array_equal(a, b) for a, b in zip(*outputs, strict=True))
    times = first.seconds(run.stream, run.rounds(15)), second.seconds(run.stream, run.rounds(15))
    steps = run.pack.entry(job)["predicted"]["steps"]
    rows = [
        {
            "node": step["node"],
            "kernel": step["kernel"],
            "grid": step["grid"],
            "chosen_us": 1e6 * a,
            "other_us": 1e6 * b,
        }
        for step, call, a, b in zip(steps, loaded.program.calls, *times, strict=True)
        if in_other_order(kernel_of(call)) != kernel_of(call)
    ]
    loaded.free()
    best = sum(min(row["chosen_us"], row["other_us"]) for row in rows)
    return {
        "passed": same and bool(rows),
        "same_results": same,
        "chosen_ms": sum(row["chosen_us"] for row in rows) / 1e3,
        "other_ms": sum(row["other_us"] for row in rows) / 1e3,
        "best_of_both_ms": best / 1e3,
        "kernels": rows,
    }
