"""The two orders of the blocks of a product: along rows of tiles first (A), or along columns first (B)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu.context import Run
from gpu.launches import Launches, Loaded

BUDGET = 35


def items(run: Run) -> list[str]:
    return [job.key for job in run.pack.plan.raster]


def one(run: Run, item: str) -> dict[str, Any]:
    job = run.job(item)
    loaded = Loaded.of(run.driver, run.pack, job, run.weights, run.until)
    turned = frozenset(run.pack.entry(job)["turned"])
    first = Launches(loaded, *run.pack.code(job))
    second = Launches(loaded, *run.pack.code(job, "raster."), turned)
    outputs = first.run(run.stream), second.run(run.stream)
    same = all(np.array_equal(a, b) for a, b in zip(*outputs, strict=True))
    times = first.seconds(run.stream, run.rounds(15)), second.seconds(run.stream, run.rounds(15))
    steps = run.pack.entry(job)["predicted"]["steps"]
    rows = [
        {
            "node": step["node"],
            "kernel": step["kernel"],
            "grid": step["grid"],
            "rows_us": 1e6 * a,
            "columns_us": 1e6 * b,
        }
        for step, call, a, b in zip(steps, loaded.program.calls, *times, strict=True)
        if call.kernel.symbol in turned
    ]
    loaded.free()
    best = sum(min(row["rows_us"], row["columns_us"]) for row in rows)
    return {
        "passed": same and bool(rows),
        "same_results": same,
        "rows_ms": sum(row["rows_us"] for row in rows) / 1e3,
        "columns_ms": sum(row["columns_us"] for row in rows) / 1e3,
        "best_of_both_ms": best / 1e3,
        "kernels": rows,
    }
