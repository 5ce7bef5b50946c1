"""Why a convolution is slower than its limit: what its kernel does besides multiplying, in seconds. The same for a
layer of any other op that has algorithms.

The limit of a layer is its multiplications (of its algorithm) at the machine's peak, or its bytes at memory's speed.
The parts below come from the kernel's configuration and the target's data; measured are times, peak and bandwidth.
Parts may overlap in time (reading weights hides behind multiplications), so they may add up to more than the gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cnncc.kernels.cpu.algorithm import Cause, Measured
from cnncc.kernels.cpu.algorithms import ALGORITHMS, find

if TYPE_CHECKING:
    from cnncc.kernels.shared.spec import Call
    from cnncc.module.cpu.program import CpuProgram
    from cnncc.report.profile.machine_limits import MachineLimits
    from cnncc.report.profile.measure import Step

MEGAFLOPS = 50
"""Operations as written, in millions and for each image, above which a convolution should be near its limit."""

NEAR = 0.8
"""Share of its limit at which it is."""

WORTH_SAYING = 0.03
"""Part of a layer's time below which a cause is not listed."""


@dataclass(frozen=True)
class Gap:
    """A convolution below `NEAR` of its limit; seconds of all its calls, of the whole batch."""

    node: str
    algorithm: str
    megaflops: float
    """As written, for each image."""
    seconds: float
    limit: float
    causes: tuple[Cause, ...]
    """The largest first."""
    unexplained: float
    """Seconds beyond the limit that no cause accounts for."""

    @property
    def of_limit(self) -> float:
        return self.limit / self.seconds

    @property
    def reason(self) -> str:
        """The causes in words."""
        said = [f"{cause.text}: {cause.seconds * 1e3:.3f} ms" for cause in self.causes]
        if self.unexplained > WORTH_SAYING * self.seconds:
            said.append(f"not explained: {self.unexplained * 1e3:.3f} ms")
        return "; ".join(said)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "of_limit": self.of_limit}


@dataclass(frozen=True)
class Large:
    """The convolutions above `MEGAFLOPS`: how many there are, and those below `NEAR` of their limit."""

    count: int
    gaps: tuple[Gap, ...]


NO_LARGE = Large(0, ())


def large_convolutions(program: CpuProgram, steps: Sequence[Step], limits: MachineLimits) -> Large:
    """Looks through the measured steps of a program, one for each of its calls."""
    count, gaps = 0, []
    pairs = zip(program.calls, steps, strict=True)
    for node, group in groupby(pairs, key=lambda pair: pair[0].node):
        calls, own = zip(*group, strict=True)
        image = sum(step.direct_flops for step in own) / program.graph[node].type.shape[0]
        if program.graph[node].op not in ALGORITHMS or image <= MEGAFLOPS * 1e6:
            continue
        count += 1
        seconds, limit = sum(s.seconds for s in own), _limit(own, limits)
        if limit < NEAR * seconds:
            gaps.append(_gap(_Layer(program, calls, own, limits), image / 1e6, seconds, limit))
    return Large(count, tuple(sorted(gaps, key=lambda gap: gap.limit - gap.seconds)))


def _limit(steps: Sequence[Step], limits: MachineLimits) -> float:
    """Of a layer. Steps without multiplications, such as a transform, do not raise the limit: they are a cost of the
    algorithm, and what they move stays in the caches."""
    return max(sum(s.flops / limits.of(s.element) for s in steps), sum(s.limit for s in steps if s.flops))


@dataclass(frozen=True)
class _Layer:
    program: CpuProgram
    calls: tuple[Call, ...]
    steps: tuple[Step, ...]
    limits: MachineLimits

    def of_cycles(self, cycles: float) -> float:
        """Seconds of so many cycles for each image, shared out among the threads."""
        return self.measured.of_cycles(cycles)

    @cached_property
    def measured(self) -> Measured:
        """What its algorithm explains. The clock follows from the peak."""
        target, images = self.program.target, self.program.images(self.calls[-1])
        return Measured(
            target=target,
            cycle=2 * target.lanes * target.floats.ports / self.limits.flops * images,
            seconds=tuple(step.seconds for step in self.steps),
            at_peak=sum(step.flops / self.limits.of(step.element) for step in self.steps),
            value_bytes=self.steps[-1].bytes / images - self.weight_bytes,
        )

    @property
    def weight_bytes(self) -> int:
        return sum(p.nbytes for p in self.program.selections[self.calls[-1].node].weights)


def _gap(layer: _Layer, megaflops: float, seconds: float, limit: float) -> Gap:
    call = layer.calls[-1]
    choice = layer.program.selections[call.node].choice
    own = find(choice.algorithm).causes(layer.measured, call) if choice is not None else []
    causes = [*_shared_causes(layer, seconds), *own]
    said = sorted((c for c in causes if c.seconds > WORTH_SAYING * seconds), key=lambda c: -c.seconds)
    unexplained = max(0.0, seconds - limit - sum(c.seconds for c in said))
    return Gap(call.node, layer.steps[-1].algorithm, megaflops, seconds, limit, tuple(said), unexplained)


def _shared_causes(layer: _Layer, seconds: float) -> list[Cause]:
    """What any kernel may suffer from: weights that come from memory, and units that do not share out evenly."""
    threads, units = layer.program.threads, layer.calls[-1].kernel.units
    uneven = -(-units // threads) * threads / units - 1
    return [
        _weights(layer),
        Cause(f"{units} units on {threads} threads", seconds * uneven / (1 + uneven)),
    ]


def _weights(layer: _Layer) -> Cause:
    """Weights read once for each image: from memory, unless those of the whole network stay in the last cache."""
    size, target = layer.weight_bytes, layer.program.target
    if layer.program.weights_stay:
        seconds = layer.of_cycles(size / target.l3_bytes_per_cycle)
        return Cause(f"{size / 1e6:.1f} MB of weights from the last cache", seconds)
    return Cause(f"{size / 1e6:.1f} MB of weights from memory", size / layer.limits.bytes)
