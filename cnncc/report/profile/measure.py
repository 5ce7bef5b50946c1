"""Times every step of a network, and says what bounds each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncc import ops
from cnncc.base.elements import BFLOAT16, ELEMENTS, drawn
from cnncc.ir import Graph
from cnncc.machines import check_runs_here
from cnncc.ops.reference import has_other_types
from cnncc.ops.traits import Kind
from cnncc.passes.assign_layouts import RELAYOUT
from cnncc.report.profile.gaps import MEGAFLOPS, NEAR, NO_LARGE, Large, large_convolutions
from cnncc.report.profile.work import Work, element_of, works

if TYPE_CHECKING:
    from cnncc.module.cpu.build import Build
    from cnncc.report.profile.machine_limits import MachineLimits
    from cnncc.runtime.model import Model

WARM_UP = 2
"""Runs before those that count: page faults, threads that start."""

BUSY = 0.05
"""Part of a run lost to other processes from which people are told."""

RUNS = 30
"""Measured by default."""


def share_of_limit(reached: float, bound: str = "memory") -> str:
    """How near its limit something runs, for people. Beyond the limit of memory a share would say nothing."""
    return "from cache" if reached > 1 and bound == "memory" else f"{reached:.0%}"


@dataclass(frozen=True)
class Step:
    """One kernel call of a run. Times in seconds, of the whole batch; `limit` is the least this machine needs."""

    node: str
    op: str
    """The node's op and what was fused into it, as in `conv+add+relu`."""
    kernel: str
    algorithm: str
    """Name of the algorithm that computes the node; its op where there is only one."""
    why: str
    seconds: float
    share: float
    """Of the time of all steps."""
    flops: int
    direct_flops: int
    bytes: int
    element: str
    """What is multiplied."""
    bound: str
    """What sets the limit: `compute` or `memory`."""
    limit: float

    @property
    def gflops(self) -> float:
        return self.flops / self.seconds / 1e9

    @property
    def of_limit(self) -> float:
        """1 is as fast as the machine can; above it, operands came from a cache and not from memory."""
        return self.limit / self.seconds

    @property
    def limit_share(self) -> str:
        """The same for people."""
        return share_of_limit(self.of_limit, self.bound)


@dataclass(frozen=True)
class Profile:
    """A profiled network. `whole` and `unstamped` are a run's median seconds, with and without the steps' stamps."""

    name: str
    target: str
    batch: int
    threads: int
    runs: int
    steps: tuple[Step, ...]
    whole: float
    unstamped: float
    covered: float
    """The part of a run's time that lies in its steps, taken run by run; the rest is the call from Python."""
    peak_flops: float
    """Operations per second of multiply-adds in registers, all threads."""
    peaks: Mapping[str, float]
    """The same of the other types that its steps multiply, by the type's name."""
    bandwidth: float
    """Bytes per second read from memory, all threads."""
    weights_dtype: str = "float32"
    """Type in which the weights of convolutions and fc layers are stored."""
    large: Large = NO_LARGE
    """The convolutions that should be near their limits."""
    dtype: str = "float32"
    """That of `Options`."""
    in_float32: tuple[str, ...] = ()
    """With a dtype of bfloat16, the nodes that neither read nor give it, as in `7 (softmax)`."""

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(s.seconds for s in self.steps)

    @property
    def limit(self) -> float:
        """Seconds if every step ran at its limit."""
        return sum(s.limit for s in self.steps)

    @property
    def limit_share(self) -> str:
        """How near its limit the whole runs, for people."""
        return share_of_limit(self.limit / self.total)

    @property
    def interrupted(self) -> float:
        """Seconds of the whole that are in steps but in no step's median: other processes had the cores."""
        return max(0.0, self.covered * self.whole - self.total)

    @property
    def busy(self) -> bool:
        return self.interrupted > BUSY * self.whole

    @property
    def digits(self) -> int:
        """Decimals of milliseconds that say something."""
        return 3 if self.total > 1e-3 else 5

    @property
    def direct_gflops(self) -> float:
        """Of the unstamped run, counting the operations as written."""
        return sum(s.direct_flops for s in self.steps) / self.unstamped / 1e9

    def slowest(self) -> list[Step]:
        """The steps by falling time."""
        return sorted(self.steps, key=lambda s: -s.seconds)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `cnncc profile --json`, steps in order."""
        fields = (
            "name", "target", "batch", "threads", "runs", "covered", "peak_flops", "peaks", "bandwidth",
            "weights_dtype", "dtype", "in_float32",
        )  # fmt: skip
        seconds = {"whole": self.whole, "unstamped": self.unstamped, "steps": self.total, "limit": self.limit}
        seconds["interrupted"] = self.interrupted
        steps = [{**asdict(s), "gflops": s.gflops, "of_limit": s.of_limit} for s in self.steps]
        below = [gap.to_json() for gap in self.large.gaps]
        large = {"megaflops": MEGAFLOPS, "near": NEAR, "count": self.large.count, "below": below}
        result = {**{f: getattr(self, f) for f in fields}, "seconds": seconds, "steps": steps}
        return {**result, "large_convolutions": large}


def profile(build: Build, runs: int = RUNS) -> Profile:
    """Runs a network that was built for this machine and measures its steps: medians over the quieter of `runs` runs.

    Runs with stamps take turns with runs without, on the same weights and memory. CnnccError if this processor lacks
    what the target needs.
    """
    from cnncc.report.profile.machine_limits import measure_limits

    program = build.program
    check_runs_here(program.target)
    elements = frozenset(element_of(call) for call in program.calls)
    limits = measure_limits(program.target, program.threads, elements)
    times = _measure(build, runs)
    steps = _steps(build, times.steps, limits)
    return Profile(
        name=program.graph.name,
        target=program.target.name,
        batch=program.graph.inputs[0].type.shape[0],
        threads=program.threads,
        runs=runs,
        steps=steps,
        whole=times.whole,
        unstamped=times.unstamped,
        covered=times.covered,
        peak_flops=limits.flops,
        peaks=limits.others,
        bandwidth=limits.bytes,
        weights_dtype=program.options.weights_dtype,
        large=large_convolutions(program, steps, limits),
        dtype=program.options.dtype,
        in_float32=in_float32(program.graph) if program.options.dtype == BFLOAT16.name else (),
    )


def in_float32(graph: Graph) -> tuple[str, ...]:
    """The nodes of a graph that compute, and neither read nor give another type than float32."""
    nodes = (n for n in graph.nodes if ops.traits(n).kind not in (Kind.INPUT, Kind.CONSTANT) and n.op != RELAYOUT)
    return tuple(f"{n.name} ({n.op})" for n in nodes if not has_other_types(graph, n))


def time_whole(model: Model, runs: int = RUNS) -> float:
    """Median seconds of the quieter runs of any model, with random inputs."""
    arena, arrays = model.new_arena(), _inputs(model)
    for _ in range(WARM_UP):
        _run(model, arena, arrays)
    times = np.diff([_run(model, arena, arrays) for _ in range(runs)], axis=1)[:, 0]
    return float(np.median(times[quiet(times)]))


@dataclass(frozen=True)
class _Times:
    """Median seconds: of each step, of a run with stamps, of one without; and the part of a run that is in steps."""

    steps: np.ndarray
    whole: float
    unstamped: float
    covered: float


def _measure(build: Build, runs: int) -> _Times:
    weights = build.weights()
    stamping = replace(build, program=build.program.stamped())
    stamped, plain = stamping.model(weights), build.model(weights)
    arena, arrays = stamped.new_arena(), _inputs(stamped)
    stamps = arena[stamping.program.stamps_offset :][: 8 * (len(build.program.calls) + 1)].view(np.uint64)
    cycles, times, plain_times = [], [], []
    for _ in range(WARM_UP + runs):
        times.append(_run(stamped, arena, arrays))
        cycles.append(stamps.astype(np.float64))
        plain_times.append(_run(plain, arena, arrays))
    # The counter's rate over all runs, the same for each: no step is charged for what surrounds a run.
    rate = (cycles[-1][-1] - cycles[0][0]) / (times[-1][1] - times[0][0])
    steps = np.diff(cycles[WARM_UP:], axis=1) / rate
    whole, unstamped = (np.diff(t[WARM_UP:], axis=1)[:, 0] for t in (times, plain_times))
    kept = quiet(whole)
    return _Times(
        # Two cores' counters may differ by a hair, so the shortest steps could come out at nothing.
        steps=np.maximum(np.median(steps[kept], axis=0), 1e-9),
        whole=float(np.median(whole[kept])),
        unstamped=float(np.median(unstamped[quiet(unstamped)])),
        covered=float(np.median(steps[kept].sum(axis=1) / whole[kept])),
    )


def quiet(seconds: np.ndarray) -> np.ndarray:
    """The fastest quarter of the runs, by index, so that steps and whole are of the same undisturbed runs: where
    another process takes a core, it hits other steps in each run, and medians over all runs would not add up."""
    return np.argsort(seconds)[: max(-(-len(seconds) // 4), min(len(seconds), 5))]


def _run(model: Model, arena: np.ndarray, arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """Start and end of one run."""
    start = time.perf_counter()
    model.run_in(arena, arrays)
    return start, time.perf_counter()


def _inputs(model: Model) -> list[np.ndarray]:
    """Random inputs: zeros would hide what denormals and branches cost."""
    rng = np.random.default_rng(0)
    return [drawn(rng, p.shape, ELEMENTS[p.dtype]) for p in model.inputs]


def _steps(build: Build, seconds: np.ndarray, limits: MachineLimits) -> tuple[Step, ...]:
    total = float(seconds.sum())
    rows = zip(build.kernels, works(build.program), map(float, seconds), strict=True)
    made = []
    for (node, kernel, why), work, time_ in rows:
        limited_by, limit = bound(work, limits)
        made.append(
            Step(
                node=node,
                op=_op(build, node),
                kernel=kernel,
                algorithm=_algorithm(build, node),
                why=why,
                seconds=time_,
                share=time_ / total,
                flops=work.flops,
                direct_flops=work.direct_flops,
                bytes=work.bytes,
                element=work.element,
                bound=limited_by,
                limit=limit,
            )
        )
    return tuple(made)


def _algorithm(build: Build, node: str) -> str:
    choice = build.program.selections[node].choice
    return build.program.graph[node].op if choice is None else choice.algorithm


def _op(build: Build, name: str) -> str:
    node = build.program.graph[name]
    return "+".join([node.op, *(name for name, _ in node.attrs.get("epilogue", ()))])


def bound(work: Work, limits: MachineLimits) -> tuple[str, float]:
    """Roofline: the larger of the time to compute and the time to move the bytes."""
    compute, memory = work.flops / limits.of(work.element), work.bytes / limits.bytes
    return ("compute", compute) if compute > memory else ("memory", memory)
