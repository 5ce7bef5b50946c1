"""The first run on a GPU, rehearsed: packed here, run on the emulated driver without the compiler's packages."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpu import fit, jobs, pack
from gpu.launches import in_other_order
from gpu.packed import Pack, PackError, Weights
from gpu.run import PHASES
from gpu.table import state, table
from pages import ROOT

from cnncc import lang, weights
from cnncc.kernels.gpu.model import START_CYCLES
from cnncc.kernels.gpu.rules import without_kernel
from cnncc.machines import gpus
from cnncc.module.lower import lower
from cnncc.ops import TABLE
from cnncc.options import Options

NO_TEXT = {"spread"}
"""What only passes make, and of networks that the plan does not have."""
QUICK = jobs.Plan((), (), (), (), (), (jobs.Job("lenet5", "float32", 1),))
"""A pack that takes seconds."""


def packed(folder: Path, plan: jobs.Plan) -> Path:
    """The folder of an unpacked pack."""
    file = folder / "pack.tar.xz"
    for _ in pack.pack(file, jobs.TARGET, plan, small=True):
        pass
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    return folder / "first_run"


def first_run(root: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """Runs a pack where nothing else is to be found: its status, `result.json`, and what it printed."""
    out = root.parent / "out"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(root / "gpu" / "run.py"), "--emulated", "--out", str(out), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root.parent, env=clean, check=False)
    return done.returncode, json.loads((out / "result.json").read_text()), done.stdout + done.stderr


@pytest.fixture(scope="module")
def quick(kept: Path, cuda_compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("quick"), QUICK)


def test_the_families_have_every_op() -> None:
    graphs = [lang.parse(f"net t\n{body}\n") for body in jobs.BODIES.values()]
    texts = {node.op for graph in graphs for node in graph.nodes}
    bound = [weights.bind(graph, None) for graph in graphs]
    gpu, types = gpus.load(jobs.TARGET), [Options(dtype=dtype) for dtype in jobs.DTYPES]
    lowered = {n.op for graph in bound for chosen in types for n in lower(graph, gpu, chosen).graph.nodes}
    assert {op for op in TABLE if not without_kernel(op)} - texts - lowered == NO_TEXT


def test_the_plan_has_what_is_to_be_told() -> None:
    plan = jobs.full()
    assert len({job.net.removesuffix(jobs.ON_BYTES) for job in plan.networks}) == 8
    in_all_types = {(n, d) for n in jobs.NETWORKS for d in jobs.DTYPES}
    on_bytes = {(n + jobs.ON_BYTES, jobs.INT8) for n in jobs.BYTES}
    assert {(job.net, job.dtype) for job in plan.networks} == in_all_types | on_bytes
    assert {job.net for job in plan.families} >= jobs.BODIES.keys()
    assert {(job.net, job.batch) for job in plan.times} >= {(job.net, job.batch) for job in plan.rivals}
    assert {1, 8, 64, 128} == {job.batch for job in plan.times if job.net == "resnet50_v1_5"}


@pytest.mark.slow
def test_the_rehearsal_passes(kept: Path, cuda_compiler: None, tmp_path: Path) -> None:
    """Every phase; only what needs PyTorch is skipped, and times mean nothing."""
    status, result, said = first_run(packed(tmp_path, jobs.small()))
    assert status == 0, said
    assert list(result["phases"]) == list(PHASES)
    for name, phase in result["phases"].items():
        assert phase["items"], name
        assert not phase["not_run"], name
        skipped = {item for item, row in phase["items"].items() if state(row) == "skipped"}
        assert all("rivals" in name or "matmul" in item for item in skipped)
    assert all(row["device"]["open"] for row in result["phases"]["families"]["items"].values())
    assert all(row["graph_run_equals_first"] for row in result["phases"]["networks"]["items"].values())
    assert result["fit"]["kernels"] > 0
    page = (tmp_path / "out" / "table.md").read_text()
    assert "| lenet5 | float16 | 1 | 9 |" in page
    assert "| lenet5-on-bytes | int8 | 1 | 9 |" in page
    assert "+launch_microseconds" in (tmp_path / "out" / "targets.diff").read_text()


def test_a_pack_is_no_bigger_than_is_said(quick: Path) -> None:
    file = quick.parent / "pack.tar.xz"
    assert file.stat().st_size < pack.LIMIT
    mine = [str(ROOT).encode(), os.path.expanduser("~").encode() + b"/"]
    files = [path for path in quick.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert [path.name for path in files if any(text in path.read_bytes() for text in mine)] == []


def test_a_pack_has_no_compiler(quick: Path) -> None:
    parts = {path.relative_to(quick / "cnncc").parts[0] for path in (quick / "cnncc").rglob("*.py")}
    assert parts & {"lang", "cli", "frontends", "tune", "bench", "torch"} == set()
    assert not (quick / "cnncc" / "kernels" / "gpu" / "lower").exists()


def test_a_process_that_dies_costs_one_item(quick: Path, tmp_path: Path) -> None:
    root = changed(quick, tmp_path, "import os\n_one = one\n\n\ndef one(run, item):\n"
                   "    if item == 'empty-sm_80-7.4':\n        os.abort()\n"
                   "    if item == 'empty-sm_80-7.8':\n        raise ValueError('broken')\n"
                   "    return _one(run, item)\n")  # fmt: skip
    status, result, _ = first_run(root, "--only", "versions")
    items = result["phases"]["versions"]["items"]
    assert status == 1
    assert {item for item, row in items.items() if state(row) != "passed"} == {"empty-sm_80-7.4", "empty-sm_80-7.8"}
    assert "the process ended with status -6" in items["empty-sm_80-7.4"]["failed"]
    assert items["empty-sm_80-7.8"]["failed"] == "ValueError: broken"
    assert len(items) == 2 + len(Pack(quick).about["code"])
    assert items["libc"]["passed"]


def test_a_phase_that_hangs_ends_with_its_time(quick: Path, tmp_path: Path) -> None:
    root = changed(quick, tmp_path, "import time\n_one = one\n\n\ndef one(run, item):\n"
                   "    time.sleep(1000 if '-' in item else 0)\n    return _one(run, item)\n")  # fmt: skip
    status, result, _ = first_run(root, "--only", "versions", "--budget", "0.6")
    phase = result["phases"]["versions"]
    assert status == 1
    assert [state(row) for row in phase["items"].values()] == ["passed", "passed", "failed"]
    assert "over the budget" in str(phase["items"])
    assert len(phase["not_run"]) == len(Pack(quick).about["code"]) - 1


def test_a_phase_that_cannot_start_has_failed(quick: Path, tmp_path: Path) -> None:
    root = changed(quick, tmp_path, "\n\ndef items(run):\n    raise ValueError('nothing to do')\n")
    status, result, _ = first_run(root, "--only", "versions,rivals", "--budget", "20")
    assert status == 1
    assert "ValueError: nothing to do" in result["phases"]["versions"]["items"]["start"]["failed"]
    assert result["phases"]["rivals"]["items"] == {}


def changed(quick: Path, folder: Path, more: str) -> Path:
    """The pack with lines added to its first phase."""
    root = folder / "first_run"
    subprocess.run(["cp", "-r", str(quick), str(root)], check=True)
    with (root / "gpu" / "phases" / "versions.py").open("a") as file:
        file.write(more)
    return root


def test_weights_that_are_drawn_otherwise_are_refused(quick: Path, tmp_path: Path) -> None:
    root = changed(quick, tmp_path, "")
    file = root / "nets" / "lenet5.json"
    said = json.loads(file.read_text())
    said[next(iter(said))] *= 1.001
    file.write_text(json.dumps(said))
    drawn, job = Weights(tmp_path), QUICK.sanitizer[0]
    drawn.draw(Pack(root), job)
    with pytest.raises(PackError, match=r"lenet5: .* is drawn otherwise by NumPy"):
        drawn.wait(job, math.inf)


def test_a_program_that_is_lowered_otherwise_is_refused(quick: Path, tmp_path: Path) -> None:
    root = changed(quick, tmp_path, "")
    file = root / "programs" / f"{QUICK.sanitizer[0].key}.json"
    file.write_text(file.read_text().replace('"digest": "', '"digest": "0'))
    with pytest.raises(PackError, match="lenet5-float32-b1 is lowered otherwise here than where it was packed"):
        Pack(root).program(QUICK.sanitizer[0])


def test_products_alone_have_another_order() -> None:
    graph = lang.parse("net t\ninput 64x56x56\nconv 3x3 256 relu; maxpool 2x2 /2; conv 1x1 512; gap; fc 10\n")
    kernels = lower(weights.bind(graph, None), gpus.load(jobs.TARGET), Options(batch=32, dtype="float16")).kernels
    changed = [kernel for kernel in kernels if in_other_order(kernel) != kernel]
    assert len(changed) == 2
    for kernel in changed:
        other = in_other_order(kernel)
        assert other.grid == kernel.grid
        assert other.config.raster.band != kernel.config.raster.band
        assert other.config.raster.band in (1, kernel.config.raster.rows)


# What comes of the measurements


def measured(gpu: gpus.Gpu) -> list[fit.Sample]:
    """Kernels that take what the model says of a GPU."""
    body = "input 64x112x112\ndwconv 3x3; maxpool 3x3 /1 pad 1; dwconv 5x5; maxpool 2x2 /2; conv 3x3 64 relu; fc 100"
    kernels = lower(weights.bind(lang.parse(f"net t\n{body}\n"), None), gpu, Options(batch=16)).kernels
    registers = [k.product.tile.registers if k.product else 32 for k in kernels]
    return [fit.Sample(k, r, 0, k.estimate(gpu, r, 0).seconds) for k, r in zip(kernels, registers, strict=True)]


def told(**rows: Mapping[str, Any]) -> dict[str, Any]:
    return {"phases": {name: {"items": items, "seconds": 1.0, "not_run": []} for name, items in rows.items()}}


def test_the_fit_finds_what_was_slower() -> None:
    gpu = gpus.load(jobs.TARGET)
    slower = replace(gpu, memory_gbytes_per_second=3000.0)
    found = fit.fitted(gpu, measured(slower), told(ceilings={"graph_node": {"microseconds": 2.0}}))
    assert fit.error(found, measured(slower)) < 1.05 < fit.error(gpu, measured(slower))
    assert found.launch_microseconds == round(2.0 - START_CYCLES / gpu.clock_mhz, 2)


def test_the_fit_leaves_what_is_right() -> None:
    gpu = gpus.load(jobs.TARGET)
    assert fit.fitted(gpu, measured(gpu), told()) == gpu
    assert fit.fitted(gpu, [], told(versions={"machine": {"multiprocessors": 114}})).multiprocessors == 114


def test_the_diff_applies(tmp_path: Path) -> None:
    gpu = gpus.load(jobs.TARGET)
    (tmp_path / "targets").mkdir()
    text = (ROOT / "targets" / f"{jobs.TARGET}.toml").read_text()
    (tmp_path / "targets" / f"{jobs.TARGET}.toml").write_text(text)
    about: Any = SimpleNamespace(root=tmp_path, target=jobs.TARGET, gpu=gpu)
    (tmp_path / "d.diff").write_text(
        fit.diff(about, replace(gpu, launch_microseconds=0.9, l2_gbytes_per_second=7000.0))
    )
    subprocess.run(["git", "apply", "d.diff"], cwd=tmp_path, check=True, env={**os.environ, "GIT_DIR": "/dev/null"})
    now = (tmp_path / "targets" / f"{jobs.TARGET}.toml").read_text()
    assert now == text.replace("launch_microseconds = 0.7", "launch_microseconds = 0.9").replace("5500.0", "7000.0")


def test_the_table_has_the_rivals_beside() -> None:
    about: Any = SimpleNamespace(plan=jobs.full())
    own = {"resnet50_v1_5-float32-b8": {"predicted_ms": 0.5, "plain_ms": 1.0, "graph_ms": 0.75, "launches": 58}}
    other = {
        "resnet50_v1_5-float32-b8 float32": {"eager_ms": 4.0, "graph_ms": 2.0},
        "resnet50_v1_5-float32-b8 tf32": {"eager_ms": 3.0, "graph_ms": 1.0},
        "resnet50_v1_5-float32-b8 tf32 compiled": {"compile_ms": 0.9},
        "resnet50_v1_5-float32-b64 tf32": {"failed": "no memory"},
    }
    text = table(about, {**told(times=own, rivals=other), "emulated": False})
    assert "| resnet50_v1_5 | float32 | 8 | 58 | 0.5 | 1 | 0.75 | - | 4, 3 (tf32) | 2, 1 (tf32) | 0.9 (tf32) |" in text
    assert "failed: rivals: resnet50_v1_5-float32-b64 tf32: no memory" in text
