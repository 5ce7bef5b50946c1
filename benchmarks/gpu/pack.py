"""Packs the first run: everything that a machine with a GPU needs, in one file. Needs the compiler, and no GPU.

    python benchmarks/gpu/pack.py FILE.tar.xz [--target NAME] [--small]

`make gpu-pack` runs it. The file has the scripts beside this one, the part of cnncc that they import, modules without
weights, machine code, predictions and reference outputs; `--small` is for the rehearsal and has the kernels' source in
addition, which the emulated driver compiles.
"""

from __future__ import annotations

import argparse
import json
import lzma
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))
import cnncc  # noqa: E402
from cnncc import lang, weights  # noqa: E402
from cnncc.base import resources  # noqa: E402
from cnncc.calibrate.random_ranges import with_random_ranges  # noqa: E402
from cnncc.frontends.sources import NetworkSource  # noqa: E402
from cnncc.ir import Constant, Graph  # noqa: E402
from cnncc.machines import gpus  # noqa: E402
from cnncc.machines.gpus import Gpu  # noqa: E402
from cnncc.module.gpu.build import CudaBuild  # noqa: E402
from cnncc.module.gpu.compilers import cuda_compiler  # noqa: E402
from cnncc.module.gpu.images import Image, architectures_of, image_for  # noqa: E402
from cnncc.module.gpu.program import check_grids  # noqa: E402
from cnncc.module.gpu.source import cuda_source, program_source  # noqa: E402
from cnncc.module.lower import lower  # noqa: E402
from cnncc.ops import reference  # noqa: E402
from cnncc.ops.synthetic import random_inputs  # noqa: E402
from cnncc.options import Options  # noqa: E402
from cnncc.report.profile.predict import predict  # noqa: E402
from gpu import jobs  # noqa: E402  (after its folder is known)
from gpu.jobs import Job, Plan  # noqa: E402
from gpu.launches import in_other_order  # noqa: E402
from gpu.packed import digest, options, sums  # noqa: E402

LIMIT = 8 << 20
"""Bytes of the file."""
RELEASES = {
    "6.5": 10020, "7.0": 11000, "7.1": 11010, "7.4": 11040, "7.8": 11080, "8.0": 12000, "8.3": 12030, "8.5": 12050,
    "8.6": 12070, "8.7": 12080, "8.8": 12090, "9.0": 13000,
}  # fmt: skip
"""The first version of CUDA that reads a version of PTX, by NVIDIA's release notes."""
TARGETS_OF_PTX = {75: "6.5", 80: "7.0", 90: "7.8"}
"""An architecture, and the first version of PTX that knows it."""


def plain_graph(net: str) -> Graph:
    """A network as written, without weights, and without the places in its text, which name a file of this machine."""
    if net.endswith(jobs.ON_BYTES):
        return without_weights(bytes_of(plain_graph(net.removesuffix(jobs.ON_BYTES))))
    if net in jobs.BODIES:
        graph = lang.parse(f"net {net}\n{jobs.BODIES[net]}\n")
    else:
        graph = lang.read(resources.directory("models") / f"{net}.net")
    return without_places(graph)


def without_places(graph: Graph) -> Graph:
    return graph.rebuild([node.with_(span=None, stack=()) for node in graph.nodes])


def bytes_of(graph: Graph) -> Graph:
    """The network on bytes, with scales of random images."""
    network = NetworkSource(weights.bind(graph, None, jobs.SEED), None)
    return without_places(with_random_ranges(network, Options()).graph)


def without_weights(graph: Graph) -> Graph:
    """The same with weights that are still to be drawn: bytes, and their scales."""
    drawn = {name: Constant(known.shape, None, known.element) for name, known in graph.constants.items()}
    return graph.rebuild(graph.nodes, constants=drawn)


def write_net(net: str, folder: Path, expect: bool) -> None:
    """The graph, the sums of its weights, and if `expect` what the reference computes of the seeded input."""
    graph = plain_graph(net)
    (folder / f"{net}.pkl").write_bytes(pickle.dumps(graph))
    bound = weights.bind(graph, None, jobs.SEED)
    (folder / f"{net}.json").write_text(json.dumps(sums(bound)))
    if expect:
        found = reference.run(bound, random_inputs(bound, jobs.SEED), keep_all=False)
        np.savez(folder / f"{net}.npz", *(found[name].astype(np.float32) for name in bound.outputs))


def write_program(job: Job, target: Gpu, folder: Path, plan: Plan, with_source: bool) -> None:
    """The module, its machine code and what is said of it."""
    program = lower(weights.bind(plain_graph(job.net), None, jobs.SEED), target, options(job, target.name))
    check_grids(program)
    source = program_source(program)
    image = image_for(source, target.ptx if job.ptx else target.cubins[0])
    build = CudaBuild(program, source if with_source else "", [image])
    build.write_unfilled(folder / f"{job.key}.so")
    entry: dict[str, Any] = {
        "digest": digest(program),
        "resources": {symbol: asdict(taken) for symbol, taken in image.resources.items()},
        "predicted": None if job.ptx else predict(build).to_json(),
    }
    if job in plan.times or job in plan.raster:
        _write_code(folder / job.key, image, source if with_source else "")
    if job in plan.raster:
        kernels = tuple(dict.fromkeys(map(in_other_order, program.kernels)))
        other = cuda_source(kernels, f"sm_{target.compute_capability}")
        _write_code(folder / f"{job.key}.raster", image_for(other, target.cubins[0]), other if with_source else "")
    (folder / f"{job.key}.json").write_text(json.dumps(entry))


def _write_code(stem: Path, image: Image, source: str) -> None:
    stem.with_name(f"{stem.name}.cubin").write_bytes(image.code)
    if source:
        stem.with_name(f"{stem.name}.cu").write_text(source)


def write_code(folder: Path, architecture: str) -> dict[str, int]:
    """Kernels in code of many versions. Returns for each the version of CUDA that a driver must be of."""
    micro = FOLDER.joinpath("micro.cu").read_text()
    (folder / "micro.cu").write_text(micro)
    image = image_for(micro, architecture)
    (folder / "micro.cubin").write_bytes(image.code)
    empty = 'extern "C" __global__ void __launch_bounds__(32) empty(float* out) {\n  out[0] = 1.0f;\n}\n'
    (folder / "empty.cu").write_text(empty)
    needs = {}
    for number, least in TARGETS_OF_PTX.items():
        text = cuda_compiler(f"compute_{number}").ptx(empty, f"compute_{number}").rstrip(b"\0").decode()
        for version, driver in RELEASES.items():
            if driver >= RELEASES[least]:
                name = f"empty-sm_{number}-{version}"
                (folder / f"{name}.ptx").write_text(re.sub(r"(?m)^\.version .*$", f".version {version}", text))
                needs[name] = driver
    code = image_for(empty, architecture)
    name = f"empty-{architecture}-machine"
    (folder / f"{name}.cubin").write_bytes(code.code)
    return {**needs, name: code.driver}


def needed_glibc(modules: Iterable[Path]) -> str:
    """The version of the C library that shared objects need: the latest of those that their symbols name."""
    found = [version for path in modules for version in re.findall(rb"\0GLIBC_(\d+)\.(\d+)", path.read_bytes())]
    return ".".join(map(str, max(tuple(map(int, version)) for version in found)))


def write_scripts(root: Path, target: str) -> None:
    """These scripts, and the target files, which the model of time reads."""
    shutil.copytree(FOLDER, root / "gpu", ignore=shutil.ignore_patterns("__pycache__", "pack.py"))
    (root / "targets").mkdir()
    shutil.copyfile(resources.directory("targets") / f"{target}.toml", root / "targets" / f"{target}.toml")


CARRIED = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from gpu import run
run.prepare(True)
import cnncc
from gpu.packed import Pack, Weights
from gpu import context, fit, launches, table
for name in run.PHASES:
    run.phase_module(name)
pack, folder = Pack(Path({root!r})), Path({work!r})
for job in pack.plan.jobs:
    if job.batch > 1 and not job.kept:
        pack.program(job)
        continue
    Weights(folder).draw(pack, job)
    for error in folder.glob("*.error"):
        sys.exit(job.key + ": " + error.read_text())
    (folder / (job.key + ".bin")).unlink()
cnncc.load(pack.file(job, "so"))
from cnncc.runtime.cuda import driver
from cnncc.passes import drop_identities, fold_batchnorm, infer_shapes
from cnncc.report import check
files = {{m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "cnncc" and m.__file__}}
print("\\n".join(sorted(files)))
"""


def carried(root: Path) -> list[Path]:
    """The files of cnncc that the scripts import, found by doing all that they do without a device: lowering every
    program, and drawing the weights of those for one image, without the packages that such a machine need not have."""
    with tempfile.TemporaryDirectory() as work:
        code = CARRIED.format(root=str(root), work=work)
        where = {"PYTHONPATH": str(resources.PACKAGE.parent), "PATH": "/usr/bin:/bin"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=where, check=False)
    if done.returncode:
        raise SystemExit(f"what was packed cannot be run without the compiler:\n{done.stderr}{done.stdout}")
    return [Path(line) for line in done.stdout.splitlines()]


def write_package(root: Path, files: list[Path], emulated: bool) -> None:
    """The part of cnncc; with the emulated driver's source if that is to be used."""
    extra = ["emulator.cpp", "device.h"] if emulated else []
    for file in [*files, *(resources.PACKAGE / "runtime" / "cuda" / name for name in extra)]:
        place = root / "cnncc" / file.relative_to(resources.PACKAGE)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def pack(out: Path, target: str, plan: Plan, small: bool) -> Iterator[str]:
    """Writes the file; yields what is done meanwhile."""
    gpu = gpus.load(target)
    with tempfile.TemporaryDirectory(prefix="gpu-pack-") as folder:
        root = Path(folder) / "first_run"
        for name in ("nets", "programs", "code"):
            (root / name).mkdir(parents=True)
        write_scripts(root, target)
        for net in dict.fromkeys(job.net for job in (*plan.jobs, *plan.rivals)):
            expect = any(job.net == net for job in (*plan.networks, *plan.rivals))
            write_net(net, root / "nets", expect)
            yield net
        with ThreadPoolExecutor(2) as pool:  # the CUDA compiler works beside the interpreter
            made = [(job, pool.submit(write_program, job, gpu, root / "programs", plan, small)) for job in plan.jobs]
            for job, future in made:
                future.result()
                yield job.key
        about = {
            "target": target,
            "cnncc": cnncc.__version__,
            "numpy": np.__version__,
            "compiler": str(cuda_compiler(*architectures_of(gpu))),
            "plan": asdict(plan),
            "code": write_code(root / "code", gpu.cubins[0]),
            "glibc": needed_glibc((root / "programs").glob("*.so")),
        }
        (root / "pack.json").write_text(json.dumps(about))
        write_package(root, carried(root), small)
        _compress(root, out)
    yield f"{out}: {out.stat().st_size / (1 << 20):.2f} MiB"
    if out.stat().st_size > LIMIT:
        raise SystemExit(f"{out} has more than {LIMIT >> 20} MiB")


def _compress(root: Path, out: Path) -> None:
    """Files of one kind side by side: they are like each other."""
    files = sorted((f for f in root.rglob("*") if f.is_file() and "__pycache__" not in f.parts), key=_kind)
    out.parent.mkdir(parents=True, exist_ok=True)
    with lzma.open(out, "wb", preset=9) as opened, tarfile.open(fileobj=opened, mode="w") as archive:
        for file in files:
            archive.add(file, file.relative_to(root.parent), filter=_anonymous)


def _kind(file: Path) -> tuple[str, str]:
    return file.suffix, file.as_posix()


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same pack from anybody, at any time."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description="Packs the first run on a GPU.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--target", default=jobs.TARGET)
    parser.add_argument("--small", action="store_true", help="what the emulated driver can run")
    given: Any = parser.parse_args()
    start = time.time()
    for done in pack(given.file, given.target, jobs.small() if given.small else jobs.full(), given.small):
        print(f"[{time.time() - start:6.1f}] {done}", flush=True)


if __name__ == "__main__":
    main()
