"""What the benchmarks print: statistics of a contest, the machine it ran on, tables, JSON, and the exit code."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from engines import OURS, PEER, Job
from interleave import BenchError, Contest, contest

from cnncc import locate
from cnncc.targets import available_cores

DISAGREEMENT = 1e-4
"""Largest allowed difference of two outputs, as a share of the largest output."""
QUIET = 0.05
"""Largest share of the processors that others may take before the figures are called disturbed."""
EXIT_DISAGREE = 1
EXIT_CANNOT = 2

Row = dict[str, Any]


def options(description: str, rounds: int, seconds: float) -> argparse.ArgumentParser:
    """The options that all benchmarks take."""
    parser = argparse.ArgumentParser(
        description=description, epilog="exit codes: 0 done; 1 outputs disagree; 2 the measurement cannot be made"
    )
    parser.add_argument("--threads", type=_at_least_1, default=available_cores(), metavar="N", help="threads per run")
    parser.add_argument("--batch", type=_at_least_1, default=1, metavar="N", help="images per run (default: 1)")
    parser.add_argument("--rounds", type=_at_least_1, default=rounds, metavar="N", help=f"(default: {rounds})")
    parser.add_argument(
        "--seconds", type=float, default=seconds, metavar="S", help=f"of each turn (default: {seconds})"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _at_least_1(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def measure(net: str, args: argparse.Namespace) -> Row:
    """One contest and its figures: milliseconds per run, ratios of times, the largest difference of the outputs."""
    result = contest(Job(str(locate.find_net(net)), args.batch, args.threads), args.rounds, args.seconds)
    return {
        "net": Path(net).stem,
        "engines": {name: {"about": result.about[name], **_figures(result, name)} for name in result.turns},
        "difference": _difference(result),
        "disturbance": result.disturbance,
    }


def _figures(result: Contest, name: str) -> Row:
    """Median and 15th percentile over all runs; the ratio is the median of the rounds' own ratios."""
    turns = result.turns[name]
    times = np.array([s for turn in turns for s in turn.seconds]) * 1e3
    ratios = [median(t.seconds) / median(p.seconds) for t, p in zip(turns, result.turns[PEER], strict=True)]
    return {
        "median_ms": float(np.median(times)),
        "p15_ms": float(np.percentile(times, 15)),
        "runs": len(times),
        "ratio": median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }


def _difference(result: Contest) -> float:
    """Largest difference between the two, over all rounds and outputs, as a share of that output's largest value.
    Infinite if anything is not a number."""
    shares = [
        np.abs(ours - peers).max() / np.abs(peers).max()
        for mine, other in zip(result.turns[OURS], result.turns[PEER], strict=True)
        for ours, peers in zip(mine.outputs, other.outputs, strict=True)
    ]
    return float(max(share if np.isfinite(share) else np.inf for share in shares))


def machine() -> Row:
    """The processor, the moment, how busy the machine was, and the command line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else "unknown",
        "cores": available_cores(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "load_before": os.getloadavg()[0],
        "command": shlex.join(["python", *sys.argv]),
    }


def print_header(about: Row, args: argparse.Namespace) -> None:
    """What has to stand beside any figure."""
    print(f"{about['cpu']}, {about['cores']} cores; {about['date']}; load before the run {about['load_before']:.2f}")
    print(about["command"])
    print(
        f"float32, batch {args.batch}, {args.threads} threads, {args.rounds} rounds, turns of {args.seconds:g} s, "
        "one process awake at a time"
    )


def disagree(rows: Iterable[Row]) -> list[str]:
    """A line for each network on which the outputs differ too much."""
    return [
        f"{row['net']}: outputs of {OURS} and {PEER} differ by {row['difference']:.1e} of the largest, "
        f"allowed {DISAGREEMENT:.0e}"
        for row in rows
        if row["difference"] > DISAGREEMENT
    ]


def finish(about: Row, rows: list[Row], args: argparse.Namespace, more: Row) -> int:
    """Prints the JSON if asked for, and what is wrong with the outputs; returns the exit code."""
    if args.json:
        setting = {key: getattr(args, key) for key in ("batch", "threads", "rounds", "seconds")}
        print(json.dumps({"machine": about, **setting, "nets": rows, **more}, indent=2))
    for row in rows:
        if row["disturbance"] > QUIET:
            print(
                f"warning: {row['net']}: others took {row['disturbance']:.0%} of the machine; measure again",
                file=sys.stderr,
            )
    wrong = disagree(rows)
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return EXIT_DISAGREE if wrong else 0


def main(run: Callable[[], int]) -> None:
    """Ends the process with the code `run` returns, or says why nothing can be measured."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    try:
        if missing:
            raise BenchError(f"{' and '.join(missing)} not installed; install the extra: pip install -e '.[bench]'")
        sys.exit(run())
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_CANNOT)
    except KeyboardInterrupt:
        sys.exit(130)
