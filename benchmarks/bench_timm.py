"""Times the networks of `timm.toml` against other runtimes; see `make bench-timm`.

    python benchmarks/bench_timm.py FOLDER [--only NAME,...] [--vs NAMES] [--rounds N] [--seconds S] [--json FILE]

FOLDER has the ONNX models that `export_timm.py` wrote. For each network it prints whether our answer is that of ONNX
Runtime, the seconds of a compile with an empty cache in a process of its own, milliseconds of ours and of the peers,
and how far ahead of the best peer ours is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from cnncc.base.errors import CnnccError

LIST = Path(__file__).with_name("timm.toml")
LONGEST = 1800
"""Seconds that the compile or the comparison of one network may take."""


def models(folder: Path) -> dict[str, Path]:
    """The file of each network of the list."""
    found = {}
    for source, names in tomllib.loads(LIST.read_text()).items():
        for name in names:
            found[name] = of_onnx(name) if source == "onnx" else folder / f"{name}.onnx"
    return found


def of_onnx(name: str) -> Path:
    """A model that lies in the package onnx."""
    import onnx

    return Path(onnx.__file__).parent / "backend/test/data/light" / f"{name}.onnx"


def cnncc(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "cnncc", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LONGEST, env={**os.environ, **environment}, check=False
    )


def compile_seconds(model: Path) -> float:
    """Of `cnncc compile` with an empty cache. CnnccError with its message if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = cnncc("compile", model, "-q", "-o", Path(folder, "m.so"), CNNCC_CACHE=str(Path(folder, "cache")))
        if done.returncode:
            raise CnnccError(done.stderr.strip().removeprefix("cnncc: "))
        return time.perf_counter() - start


def measured(model: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What `cnncc bench --json` says of one network. CnnccError if it says nothing."""
    done = cnncc("bench", model, "--vs", args.vs, "--rounds", args.rounds, "--seconds", args.seconds, "--json")
    if not done.stdout.strip():
        raise CnnccError(done.stderr.strip().removeprefix("cnncc: "))
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def row(name: str, model: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All that is known of a network; `problem` says why something is missing."""
    try:
        if not model.exists():
            raise CnnccError("not exported")
        seconds = compile_seconds(model)
        (net,) = measured(model, args)["nets"]
    except (CnnccError, subprocess.TimeoutExpired) as error:
        return {"name": name, "problem": str(error).splitlines()[0]}
    return {"name": name, "compile": seconds, **net}


def line(found: dict[str, Any], peers: list[str]) -> str:
    """One row of the table."""
    if "problem" in found:
        return f"{found['name']:30} {found['problem']}"
    times = {c["name"]: c["times"] for c in found["competitors"]}
    cells = [f"{times[name]['median_ms']:12.2f}" if times.get(name) else f"{'-':>12}" for name in ("cnncc", *peers)]
    ahead = f"{found['ahead']:6.2f}" if found["ahead"] else f"{'-':>6}"
    right = "right" if is_right(found) else "WRONG"
    return f"{found['name']:30} {right} {found['compile']:9.1f}{''.join(cells)}{ahead}  {found['best'] or ''}"


def is_right(found: dict[str, Any]) -> bool:
    """Whether the answer is that of ONNX Runtime, which is the reference of the format."""
    return any(c["name"] == "onnxruntime" and not c["problem"] for c in found["competitors"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="NAMES", help="networks, with commas between")
    parser.add_argument("--vs", default="onnxruntime,openvino,mnn,ncnn", metavar="NAMES")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    peers = args.vs.split(",")
    wanted = [name for name in args.only.split(",") if name]
    header = f"{'network':30} {'':5} {'compile s':>9}" + "".join(f"{name:>12}" for name in ("cnncc", *peers))
    print(f"{header} ahead  best", flush=True)
    results = []
    for name, model in models(args.folder).items():
        if not wanted or name in wanted:
            results.append(row(name, model, args))
            print(line(results[-1], peers), flush=True)
            if args.json:
                args.json.write_text(json.dumps(results, indent=1) + "\n")
    return summary(results)


def summary(results: list[dict[str, Any]]) -> int:
    """The last lines; 1 if an answer is wrong or missing."""
    from statistics import geometric_mean

    ahead = [r["ahead"] for r in results if r.get("ahead")]
    right = sum("problem" not in r and is_right(r) for r in results)
    if ahead:
        print(f"ahead of the best peer: geometric mean {geometric_mean(ahead):.2f}, least {min(ahead):.2f}")
    print(f"right: {right} of {len(results)}")
    return 0 if right == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
