"""What the first run ends with: predicted, measured and rival times side by side, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpu.jobs import INT8, ON_BYTES
from gpu.packed import Pack

RIVALS = {"float32": ("float32", "tf32"), "tf32": ("tf32",), "float16": ("float16",), INT8: ("float16",)}
"""The kinds of rival beside a type of ours."""


def table(pack: Pack, result: Mapping[str, Any]) -> str:
    """As Markdown."""
    phases = result["phases"]
    title = "# First run" + (" on the emulated driver: its times mean nothing" if result["emulated"] else "")
    parts = (_states(phases), _times(pack, phases), _ceilings(phases), _raster(phases))
    return "\n\n".join([title, *("\n".join(part) for part in parts)]) + "\n"


def _states(phases: Mapping[str, Any]) -> Iterator[str]:
    yield "| phase | seconds | passed | failed | skipped | not run |"
    yield "|---|---|---|---|---|---|"
    for name, phase in phases.items():
        states = [state(row) for row in phase["items"].values()]
        counts = [states.count(kind) for kind in ("passed", "failed", "skipped")]
        yield f"| {name} | {phase['seconds']:.1f} | {' | '.join(map(str, counts))} | {len(phase['not_run'])} |"
    for name, phase in phases.items():
        for item, row in phase["items"].items():
            if state(row) != "passed":
                why = row.get("failed") or row.get("skipped") or row.get("first_failure") or row
                yield f"\n{state(row)}: {name}: {item}: {' '.join(str(why).split())[:300]}"


def state(row: Mapping[str, Any]) -> str:
    """Of an item."""
    if "skipped" in row:
        return "skipped"
    return "failed" if "failed" in row or not row.get("passed", True) else "passed"


def _times(pack: Pack, phases: Mapping[str, Any]) -> Iterator[str]:
    rivals = phases.get("rivals", {}).get("items", {})
    own, other = "predicted ms | one by one | graph | kernels", "PyTorch eager | graph | compiled"
    yield f"| network | type | batch | launches | {own} | {other} |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for job in pack.plan.times:
        row = phases.get("times", {}).get("items", {}).get(job.key, {})
        times = [row.get(key) for key in ("predicted_ms", "plain_ms", "graph_ms", "kernels_ms")]
        rival = f"{job.net.removesuffix(ON_BYTES)}-float32-b{job.batch}"
        others = [_best(rivals, rival, job.dtype, key) for key in ("eager_ms", "graph_ms", "compile_ms")]
        cells = [job.net, job.dtype, job.batch, row.get("launches", "-"), *map(_number, times), *others]
        yield f"| {' | '.join(map(str, cells))} |"


def _best(rivals: Mapping[str, Any], key: str, dtype: str, column: str) -> str:
    """Of each kind of rival, by name where there are several."""
    found = []
    for kind in RIVALS[dtype]:
        rows = [rivals.get(f"{key} {kind}{end}", {}) for end in ("", " compiled")]
        values = [row[column] for row in rows if column in row]
        found += [f"{_number(values[0])}{f' ({kind})' if kind != dtype else ''}"] if values else []
    return ", ".join(found) or "-"


def _ceilings(phases: Mapping[str, Any]) -> Iterator[str]:
    yield "| ceiling | measured |"
    yield "|---|---|"
    for item, row in phases.get("ceilings", {}).get("items", {}).items():
        if state(row) == "passed":
            told = ", ".join(f"{key} {_number(value)}" for key, value in row.items())
        else:
            told = f"{state(row)}: {_first_line(row)}"
        yield f"| {item} | {told} |"


def _first_line(row: Mapping[str, Any]) -> str:
    """Why an item has no result, as a cell of a table."""
    lines = str(row.get("failed") or row.get("skipped") or "").strip().splitlines()
    return lines[0].replace("|", "\\|") if lines else ""


def _raster(phases: Mapping[str, Any]) -> Iterator[str]:
    yield "| raster order | in bands ms | the other order | better of both by kernel |"
    yield "|---|---|---|---|"
    for item, row in phases.get("raster", {}).get("items", {}).items():
        values = [row.get(key) for key in ("chosen_ms", "other_ms", "best_of_both_ms")]
        yield f"| {item} | {' | '.join(map(_number, values))} |"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-" if value is None else str(value)
