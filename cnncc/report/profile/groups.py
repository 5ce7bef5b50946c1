"""The time of a profile by what its steps have in common: their op, or the part of the network they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnncc.report.profile.measure import Profile, Step


@dataclass(frozen=True)
class StepGroup:
    """Steps together: how many, their seconds, their share of all steps' time, and the seconds at their limits."""

    name: str
    steps: int
    seconds: float
    share: float
    limit: float


def by_op(profile: Profile) -> list[StepGroup]:
    """The ops, whatever is fused into them, by the algorithms that compute them; the longest first."""
    groups = _grouped(profile, _computed)
    return sorted(groups, key=lambda g: -g.seconds)


def _computed(step: Step) -> str:
    op = step.op.partition("+")[0]
    return op if step.algorithm == op else f"{op}, {step.algorithm}"


def by_stage(profile: Profile) -> list[StepGroup]:
    """The first parts of the steps' names, which are the labels of the network's lines; in the order they run in."""
    return _grouped(profile, lambda s: s.node.partition(".")[0])


def _grouped(profile: Profile, key: Callable[[Step], str]) -> list[StepGroup]:
    found: dict[str, list[Step]] = {}
    for step in profile.steps:
        found.setdefault(key(step), []).append(step)
    return [_group(name, steps) for name, steps in found.items()]


def _group(name: str, steps: Sequence[Step]) -> StepGroup:
    seconds, share, limit = (sum(getattr(s, field) for s in steps) for field in ("seconds", "share", "limit"))
    return StepGroup(name, len(steps), seconds, share, limit)
