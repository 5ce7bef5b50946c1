"""The first run on a GPU, out of the folder that `pack.py` made; see docs/cuda.md.

    python run.py [--out DIR] [--budget SECONDS] [--only PHASE,...] [--emulated]

It needs the driver, Python 3.11 or later and NumPy, and for the rivals PyTorch. Each phase runs in processes of its
own, so that a fault or a phase that hangs costs that phase only; after an item that failed, the rest of the phase goes
on in a new process. DIR gets `result.json`, written after every phase, and at the end `table.md` and `targets.diff`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parent
# The pack's `gpu` and `cnncc`, whatever else is installed; not this file's folder, whose names others may have too.
sys.path[:] = [str(FOLDER.parent), *(path for path in sys.path if path not in (str(FOLDER), str(FOLDER.parent)))]
PHASES = ("versions", "ceilings", "families", "networks", "times", "raster", "rivals", "sanitizer")
BUDGET = 465
"""Seconds of all phases; what comes after them takes some more."""
SLOWER = 20
"""How many times as long everything may take on the emulated driver."""
AGAIN = 3
"""The status of a process that ended after a failed item: a new one goes on."""
ABSENT = ("tvm", "tvm_ffi", "llvmlite", "lark", "networkx", "onnx", "safetensors", "rich", "PIL", "scipy", "torch")
"""What a rehearsal does without, as if it were not installed."""


class _Absent(importlib.abc.MetaPathFinder):
    """Finds that these packages are not there."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"{name} is left out of the rehearsal", name=name)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The first run on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("first_run"), help="folder of the results")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of the whole run")
    parser.add_argument("--only", default=",".join(PHASES), help="phases, with commas between")
    parser.add_argument("--emulated", action="store_true", help="on the driver in software, without what is not needed")
    parser.add_argument("--pack", type=Path, default=FOLDER.parent, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--phase", help=argparse.SUPPRESS)  # what a process of a phase is told, and until when
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)  # what a process under a tool is told
    return parser.parse_args()


def prepare(emulated: bool) -> None:
    """For this process and those that it starts."""
    os.environ["OPENBLAS_NUM_THREADS"] = "2"  # many processes draw weights
    if emulated:
        os.environ.update(CNNCC_CUDA_DRIVER="emulated", CNNCC_EMULATOR_CAPABILITY="90")
        sys.meta_path.insert(0, _Absent())
    else:
        os.environ.pop("CNNCC_CUDA_DRIVER", None)


# ---- a process of a phase ----


def phase_module(name: str) -> ModuleType:
    return importlib.import_module(f"gpu.phases.{name}")


def run_of(given: argparse.Namespace) -> Any:
    from gpu.context import Run
    from gpu.packed import Pack, Weights

    until = given.until or time.time() + 3600
    return Run(Pack(given.pack), Weights(given.work), given.emulated, until)


def go_on(given: argparse.Namespace) -> int:
    """Does the items of a phase that have no row yet, and writes the phase's file after each. Returns `AGAIN` after one
    that failed: it may have spoilt the device for this process."""
    from gpu.context import Skipped

    file = given.work / f"{given.phase}.json"
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"items": {}}
    module, run = phase_module(given.phase), run_of(given)
    known["not_run"] = [item for item in module.items(run) if item not in known["items"]]
    write(file, known)
    for item in list(known["not_run"]):
        write(file, {**known, "running": item})
        start, status = time.time(), 0
        try:
            row = module.one(run, item)
        except Skipped as why:
            row = {"skipped": str(why)}
        except Exception as error:  # whatever it is, the other items are worth having
            row = {"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-3000:]}
            status = AGAIN
        known["items"][item] = {**row, "seconds": round(time.time() - start, 3)}
        known["not_run"].remove(item)
        write(file, known)
        if status:
            return status
    return 0


def write(file: Path, data: Any) -> None:
    """The file appears whole or not at all."""
    scratch = file.with_suffix(".part")
    scratch.write_text(json.dumps(data, indent=1, default=str))
    os.replace(scratch, file)


# ---- the process that starts them ----


def phase(name: str, given: argparse.Namespace, until: float) -> dict[str, Any]:
    """Runs a phase, at most until that time, by one process after another."""
    start = time.time()
    file = given.work / f"{name}.json"
    said = ""
    while True:
        status, said = _process(name, given, until)
        if not file.exists():  # it did not come as far as the first item
            known = {"items": {"start": {"failed": f"status {status}: {said[-1500:]}"}}, "not_run": []}
            break
        known = json.loads(file.read_text())
        running = known.pop("running", None)
        if status != AGAIN and running is not None:  # it ended in the middle of an item
            why = "over the budget" if time.time() >= until else f"the process ended with status {status}"
            known["items"][running] = {"failed": f"{why}: {said[-1500:]}"}
            known["not_run"].remove(running)
            write(file, known)
        done = not known["not_run"] or (status != AGAIN and running is None)
        if done or time.time() >= until:
            break
    return {"seconds": round(time.time() - start, 2), **known, "said": said[-2000:]}


def _process(name: str, given: argparse.Namespace, until: float) -> tuple[int, str]:
    """A process of a phase: its status, and what it printed. It is ended when its time is over."""
    from gpu.processes import run_session

    script, *words = str(FOLDER / "run.py"), "--phase", name, "--pack", str(given.pack), "--work", str(given.work)
    command = [sys.executable, script, *words, "--until", str(until), *(["--emulated"] if given.emulated else [])]
    log = given.work / f"{name}.log"
    with log.open("w") as out:
        status = run_session(command, until - time.time(), out)
    return status, log.read_text(errors="replace")


def conclude(given: argparse.Namespace, result: dict[str, Any]) -> None:
    """The table, and the diff of the target's file."""
    from gpu import fit
    from gpu.packed import Pack
    from gpu.table import table

    pack = Pack(given.pack)
    (given.out / "table.md").write_text(table(pack, result))
    measured = fit.samples(pack, result["phases"].get("times", {}).get("items", {}))
    gpu = fit.fitted(pack.gpu, measured, result)
    note = "Of the emulated driver: it means nothing.\n" if given.emulated else ""
    (given.out / "targets.diff").write_text(note + fit.diff(pack, gpu))
    if measured:
        errors = fit.error(pack.gpu, measured), fit.error(gpu, measured)
        result["fit"] = {"kernels": len(measured), "off_by_before": errors[0], "off_by_after": errors[1]}


def whole(given: argparse.Namespace) -> int:
    """All phases. Returns 1 if something failed or was not run, 0 otherwise."""
    from gpu.drawing import Drawing
    from gpu.packed import Pack
    from gpu.table import state

    start = time.time()
    slow = SLOWER if given.emulated else 1
    end = start + given.budget * slow
    given.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"emulated": given.emulated, "phases": {}}
    names = [name for name in PHASES if name in given.only.split(",")]
    drawing = Drawing.start(given.pack, given.work, prepare, given.emulated, Pack(given.pack).plan.jobs)
    budgets = {name: float(phase_module(name).BUDGET) for name in names}
    scale = min(1.0, given.budget / sum(budgets.values())) * slow
    for name in names:
        del budgets[name]
        try:  # what earlier phases left over it may use, but nothing of the later ones' budgets
            result["phases"][name] = phase(name, given, end - scale * sum(budgets.values()))
        except Exception as error:  # the other phases are worth having
            result["phases"][name] = {"items": {"phase": {"failed": repr(error)}}, "not_run": [], "seconds": 0.0}
        write(given.out / "result.json", result)
        print(f"[{time.time() - start:6.1f}] {name}: {_counts(result['phases'][name])}", flush=True)
    drawing.stop()
    try:
        conclude(given, result)
    except Exception as error:  # what was measured is written already
        result["conclusion_failed"] = traceback.format_exc()
        print(f"no table: {error!r}", flush=True)
    result["seconds"] = round(time.time() - start, 1)
    write(given.out / "result.json", result)
    for file in ("table.md", "targets.diff"):
        print((given.out / file).read_text() if (given.out / file).exists() else f"{file} is missing", flush=True)
    rows = [row for phase in result["phases"].values() for row in phase["items"].values()]
    bad = "conclusion_failed" in result or any(phase["not_run"] for phase in result["phases"].values())
    return int(bad or any(state(row) == "failed" for row in rows))


def _counts(phase: dict[str, Any]) -> str:
    from gpu.table import state

    states = [state(row) for row in phase["items"].values()]
    counts = [f"{states.count(kind)} {kind}" for kind in ("passed", "failed", "skipped") if kind in states]
    return ", ".join([*counts, *([f"{len(phase['not_run'])} not run"] if phase["not_run"] else [])])


def main() -> int:
    given = arguments()
    prepare(given.emulated)
    if given.phase:
        return go_on(given)
    if given.alone:
        from gpu.phases.sanitizer import alone

        alone(run_of(given), given.alone)
        return 0
    given.work = given.work or Path(tempfile.mkdtemp(prefix="first-run-"))
    try:
        return whole(given)
    finally:
        shutil.rmtree(given.work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
