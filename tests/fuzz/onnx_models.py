"""A fuzzer of the ONNX importer: models that are wrong in some way have to be read or refused in a clear line.

    python -m tests.fuzz.onnx_models --seeds 0:100000 --minutes 60 --keep found

Case number i is always the same model. Each runs in a worker with limits; what is counted, and what ends the run with
exit code 1, is in `Outcome`.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from onnx import ModelProto

from cnncc.options import Options
from tests.fuzz.onnx_mutations import mutated
from tests.fuzz.onnx_seeds import official, own

SECONDS = 10
"""Of processor time that a case may take; other work on the machine does not count."""
MOST_BYTES = 1 << 30
"""By which the memory of a worker may grow in a case."""
ADDRESSES = 6 << 30
"""By which its address space may: far beyond, so that an array that would be too large is seen as such."""
SMALL = 1 << 20
"""Elements of all values up to which a network is run."""
CLOSE = 1e-3
"""Difference from ONNX Runtime, of the largest value, that is none."""
EXACT = 1 << 24
"""Up to which whole numbers are exact as float32."""
LONGEST = 8000
"""Characters of a refusal."""

Seeds = list[tuple[str, ModelProto]]
"""Right models and their names."""


class Outcome:
    """What may come of a case."""

    IMPORTED, REFUSED, AGREES, ALONE = "imported", "refused", "agrees with ONNX Runtime", "ONNX Runtime refuses it"
    TRACEBACK, HANG, MEMORY, CRASH = "traceback", "over 10 s", "over 1 GiB", "crash"
    DIFFERS, UNCLEAR = "differs from ONNX Runtime", "unclear refusal"


BAD = (Outcome.TRACEBACK, Outcome.HANG, Outcome.MEMORY, Outcome.CRASH, Outcome.UNCLEAR, Outcome.DIFFERS)


def case(seeds: Seeds, number: int) -> tuple[str, bytes]:
    """The name of the seed and the bytes of the model of a number."""
    rng = random.Random(number)
    name, model = seeds[rng.randrange(len(seeds))]
    return name, mutated(model, rng)


# In the worker


def attempt(data: bytes, number: int, compile_every: int, phase: Any) -> tuple[str, str]:
    """Reads a model, writes it as a text, and compares what it computes; the outcome, and what is to be said of it."""
    from cnncc.base.errors import CnnccError
    from cnncc.frontends.onnx.file import read_model
    from cnncc.frontends.onnx.network import import_onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.onnx"
        file.write_bytes(data)
        try:
            network = import_onnx(file, strict=True)
            model = read_model(file)
        except CnnccError as error:
            return (Outcome.REFUSED, "") if is_clear(error) else (Outcome.UNCLEAR, str(error))
    # cnncc leaves rounding out, and ONNX Runtime gives the bytes of narrow floats.
    rounded = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    narrow = any(port.dtype.kind == "V" for port in network.outputs)
    if not network.outputs or elements(network) > SMALL or rounded or narrow:
        return Outcome.IMPORTED, ""
    return compared(model, network, phase, compile_every and number % compile_every == 0)


def is_clear(error: Exception) -> bool:
    """Whether a refusal can be shown as it is."""
    text = str(error)
    return 0 < len(text) <= LONGEST and all(c.isprintable() or c == "\n" for c in text) and "please report" not in text


def elements(network: Any) -> int:
    """Of all values; inputs that nothing reads need not be among them."""
    shapes = [*(port.shape for port in network.inputs), *(node.type.shape for node in network.graph.nodes)]
    return sum(map(math.prod, shapes))


def compared(model: Any, network: Any, phase: Any, compiled: bool) -> tuple[str, str]:
    """Our results, by the reference or a compiled module, against those of ONNX Runtime."""
    import numpy as np
    import onnxruntime

    from cnncc import passes
    from cnncc.ops import reference

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    rng = np.random.default_rng(1)
    arrays = {port.name: numbers(rng, port.shape, port.dtype) for port in network.inputs}
    phase("run of ONNX Runtime")
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        expected = session.run(None, arrays)
    except Exception as error:  # ONNX Runtime's errors have no common class
        return Outcome.ALONE, str(error)[:300]
    phase("run")
    graph = passes.with_batch(network.graph, network.batch)
    fed = [port.to_graph(arrays[port.name], graph[port.node].type.shape) for port in network.inputs if port.node]
    with np.errstate(all="ignore"):
        if compiled and graph.inputs:
            from cnncc import api

            module = api.build(graph, Options(batch=network.batch)).model()
            values = dict(zip(graph.outputs, module.run_in(module.new_arena(), fed), strict=True))
        else:
            values = reference.run(graph, fed)
        for port, wanted in zip(network.outputs, expected, strict=True):
            got = port.from_graph(values[port.node]) if port.known is None else port.known
            if why := difference(got, wanted):
                return Outcome.DIFFERS, f"output {port.name}: {why}"
    return Outcome.AGREES, ""


def numbers(rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Some of each sign, small whole ones for types of those."""
    return rng.integers(0, 8, shape).astype(dtype) if dtype.kind in "iub" else rng.standard_normal(shape).astype(dtype)


def difference(got: Any, wanted: Any) -> str:
    """Why two results are not the same; empty if they are."""
    import numpy as np

    if got.shape != np.shape(wanted):
        return f"shape {got.shape}, expected {np.shape(wanted)}"
    if not got.size:
        return ""
    a, b = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    most = EXACT if np.asarray(wanted).dtype.kind in "iu" else 1e30
    finite = np.isfinite(b) & (np.abs(b) < most)
    if not finite.any():
        return ""
    scale = max(float(np.abs(b[finite]).max()), 1e-6)
    gap = float(np.nan_to_num(np.abs(a[finite] - b[finite]), nan=np.inf).max())
    return f"by {gap:.3g} of {scale:.3g}" if gap > CLOSE * scale else ""


def work(pipe: Connection, other_end: Connection, seeds: Seeds, compile_every: int) -> None:
    """Runs the cases whose numbers come, and answers with their outcomes."""
    other_end.close()  # so that the pipe ends with the main process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    import onnxruntime  # noqa: F401  before the memory is measured

    from cnncc.frontends.onnx import reader as import_onnx  # noqa: F401

    address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (address_space + ADDRESSES,) * 2)
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        name, data = case(seeds, number)
        before = forget_peak()
        try:
            outcome, detail = attempt(data, number, compile_every, pipe.send)
        except MemoryError:
            outcome, detail = Outcome.MEMORY, traceback.format_exc()
        except Exception:
            outcome, detail = Outcome.TRACEBACK, traceback.format_exc()
        if outcome not in BAD and status("VmHWM") - before > MOST_BYTES:
            outcome, detail = Outcome.MEMORY, f"{(status('VmHWM') - before) / 2**20:.0f} MiB more"
        pipe.send((outcome, name, detail))


def status(key: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


def forget_peak() -> int:
    """Begins to measure the peak of memory anew; what is used now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return status("VmHWM")


# In the main process


@dataclass
class Worker:
    """A process for one case after the other; a new one takes its place when it dies or is stopped. It has the seeds of
    this one, which take a while to make."""

    seeds: Seeds
    compile_every: int
    process: Any = None
    pipe: Any = None

    def start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self.pipe, self.seeds, self.compile_every)
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
        self.process = None

    def run(self, number: int) -> tuple[str, str, str]:
        """Outcome, seed and detail of a case."""
        if self.process is None:
            self.start()
        self.pipe.send(number)
        began, phase = self.seconds(), "import"
        try:
            while True:
                if self.pipe.poll(0.5):
                    answer = self.pipe.recv()
                    if isinstance(answer, tuple):
                        return answer
                    phase, began = answer, self.seconds()
                elif self.seconds() - began > SECONDS:
                    self.stop()
                    # How long it takes to compile is bounded elsewhere, and ONNX Runtime is not ours.
                    return (Outcome.HANG if phase == "import" else Outcome.IMPORTED), "", f"in {phase}"
        except (EOFError, OSError):
            self.stop()
            return (Outcome.CRASH if phase != "run of ONNX Runtime" else Outcome.IMPORTED), "", f"in {phase}"

    def seconds(self) -> float:
        """Processor time of the worker."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Report:
    """Counts of outcomes, and the first cases of each kind of mistake."""

    counts: Counter[str] = field(default_factory=Counter)
    found: dict[str, list[int]] = field(default_factory=dict)

    def add(self, number: int, outcome: str, name: str, detail: str) -> None:
        self.counts[outcome] += 1
        if outcome in BAD:
            key = f"{outcome}: {last_place(detail) or name.rpartition(' ')[0]}"
            self.found.setdefault(key, []).append(number)
            if len(self.found[key]) == 1:
                print(f"case {number} ({name}): {outcome}\n{detail}", flush=True)

    def lines(self) -> Iterator[str]:
        yield from (f"{count:8} {outcome}" for outcome, count in self.counts.most_common())
        yield f"{self.counts.total():8} in all"
        yield from (f"{len(numbers):8} x {key}, cases {numbers[:8]}" for key, numbers in self.found.items())

    @property
    def bad(self) -> int:
        return sum(self.counts[outcome] for outcome in BAD)


def last_place(detail: str) -> str:
    """The last line of our own in a traceback, and what was raised."""
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("File") and "cnncc" in line]
    where = ours[-1].rpartition("/")[2] if ours else ""
    return f"{where} {lines[-1][:100] if lines and ours else ''}".strip()


def fuzz(
    numbers: Iterable[int], seeds: Seeds, minutes: float = 1e9, compile_every: int = 0, keep: Path | None = None
) -> Report:
    """Runs cases until they or the minutes are over, or the run is interrupted; those that show a mistake are kept in a
    folder."""
    worker, report, end = Worker(seeds, compile_every), Report(), time.monotonic() + 60 * minutes
    try:
        for number in numbers:
            outcome, name, detail = worker.run(number)
            report.add(number, outcome, name, detail)
            if keep and outcome in BAD:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{number}.onnx").write_bytes(case(seeds, number)[1])
            if time.monotonic() > end:
                break
    except KeyboardInterrupt:
        print("interrupted")
    finally:
        worker.stop()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0:1000", metavar="A:B", help="numbers of cases")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which it ends")
    parser.add_argument("--own", action="store_true", help="without the official node tests of the package onnx")
    parser.add_argument("--compile-every", type=int, default=0, metavar="N", help="compile one case of N")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where models go that show a mistake")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    first, last = map(int, args.seeds.split(":"))
    began = time.monotonic()
    seeds = own() if args.own else [*own(), *official()]
    report = fuzz(range(first, last), seeds, args.minutes, args.compile_every, args.keep)
    print(*report.lines(), f"{(time.monotonic() - began) / 60:8.1f} minutes", sep="\n")
    return 1 if report.bad else 0


if __name__ == "__main__":
    sys.exit(main())
