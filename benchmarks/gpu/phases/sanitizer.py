"""Small networks under the tools of compute-sanitizer, each in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu.context import Run, Skipped

BUDGET = 55
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
FOUND = 9
"""The exit status of a tool that found something."""
RUNS = 3
LONGEST = 40
"""Seconds of a tool."""


def items(run: Run) -> list[str]:
    return [f"{tool} {job.key}" for job in run.pack.plan.sanitizer for tool in TOOLS]


def one(run: Run, item: str) -> dict[str, Any]:
    """On the emulated driver, which checks accesses itself, the network runs without the tool."""
    tool, key = item.split()
    run.values(run.job(key))
    script = Path(__file__).resolve().parent.parent / "run.py"
    tool_words = [] if run.emulated else [*_tool(tool), f"--error-exitcode={FOUND}"]
    words = [*tool_words, sys.executable, script, "--alone", key, "--pack", run.pack.root, "--work", run.weights.folder]
    command = [*map(str, words), *(["--emulated"] if run.emulated else [])]
    left = max(1.0, min(LONGEST, run.until - time.time()))
    done = subprocess.run(command, capture_output=True, text=True, timeout=left, check=False)
    if not run.emulated and "Device not supported" in done.stdout + done.stderr:
        raise Skipped("compute-sanitizer does not support this machine")
    return {"passed": done.returncode == 0, "status": done.returncode, "said": (done.stdout + done.stderr)[-800:]}


def _tool(name: str) -> list[str]:
    found = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if found is None:
        raise Skipped("compute-sanitizer is not installed")
    return [found, "--tool", name, "--report-api-errors", "no"]


def alone(run: Run, key: str) -> None:
    """What the process under a tool does: some runs, plain and from a graph."""
    job = run.job(key)
    model, inputs = run.model(job), list(run.pack.inputs(job).values())
    for _ in range(RUNS):
        model.run_in(model.new_arena(), inputs)
    model.release()
