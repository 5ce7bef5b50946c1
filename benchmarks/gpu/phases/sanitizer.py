"""Small networks under the tools of compute-sanitizer, all tools at a time, each in a process of its own."""

from __future__ import annotations

import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gpu.context import Run, Skipped
from gpu.processes import run_group

BUDGET = 55
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
FOUND = 9
"""The exit status of a tool that found something."""
RUNS = 3
SLOW = 20
"""How many times as long the emulated driver takes."""
LONGEST = 40
"""Seconds of a tool."""
UNSUPPORTED = "Device not supported"
"""What the tools say on machines that hide the device's counters."""


def items(run: Run) -> list[str]:
    return [job.key for job in run.pack.plan.sanitizer]


def one(run: Run, item: str) -> dict[str, Any]:
    """On the emulated driver, which checks accesses itself, the network runs once, without a tool."""
    run.values(run.job(item))
    if run.emulated:
        return _under(run, item, [], LONGEST * SLOW)
    found = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if found is None:
        raise Skipped("compute-sanitizer is not installed")
    words = [found, "--report-api-errors", "no", f"--error-exitcode={FOUND}", "--tool"]
    with ThreadPoolExecutor(len(TOOLS)) as pool:
        rows = dict(zip(TOOLS, pool.map(lambda tool: _under(run, item, [*words, tool], LONGEST), TOOLS), strict=True))
    if all(UNSUPPORTED in row["said"] for row in rows.values()):
        raise Skipped("compute-sanitizer does not support the device of this machine")
    return {"passed": all(row["passed"] for row in rows.values()), "tools": rows}


def _under(run: Run, key: str, tool: list[str], longest: float) -> dict[str, Any]:
    """Runs a network in a process under a tool."""
    script = Path(__file__).resolve().parent.parent / "run.py"
    words = [*tool, sys.executable, script, "--alone", key, "--pack", run.pack.root, "--work", run.weights.folder]
    command = [*map(str, words), *(["--emulated"] if run.emulated else [])]
    left = max(1.0, min(longest, run.until - time.time()))
    status, said = run_group(command, left)
    late = f"it did not end in {left:.0f} seconds: " if status is None else ""
    return {"passed": status == 0, "status": status, "said": late + said[-800:]}


def alone(run: Run, key: str) -> None:
    """What the process under a tool does: some runs, plain and from a graph."""
    job = run.job(key)
    model, inputs = run.model(job), list(run.pack.inputs(job).values())
    for _ in range(RUNS):
        model.run_in(model.new_arena(), inputs)
    model.release()
