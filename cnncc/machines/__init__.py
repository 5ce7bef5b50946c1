"""What modules are compiled for: processors and GPUs, read from `targets/*.toml`."""

from __future__ import annotations

from collections.abc import Sequence

from cnncc.base.errors import CnnccError
from cnncc.machines import gpus, target_files, targets
from cnncc.machines.gpus import Gpu
from cnncc.machines.machine import Machine
from cnncc.machines.targets import Target

__all__ = ["Machine", "check_one_runs_here", "check_runs_here", "load", "names"]

_KINDS: dict[str, type[Target] | type[Gpu]] = {
    **dict.fromkeys(targets.FORMATS, Target),
    **dict.fromkeys(gpus.FORMATS, Gpu),
}


def names() -> list[str]:
    """All targets: processors, this one first, then GPUs."""
    return [*targets.names(), *gpus.names()]


def load(name: str) -> Machine:
    """The machine of that name; CnnccError for an unknown name or a file that does not fit."""
    if name == target_files.HOST:
        return targets.host()
    data = target_files.read(name)
    kind = _KINDS.get(data.get("format", ""))
    if kind is None:
        raise CnnccError(f"{name}.toml: format must be one of {', '.join(_KINDS)}")
    return target_files.fill(kind, data)


def check_runs_here(machine: Machine) -> None:
    """CnnccError unless this machine can run code for the target."""
    check_one_runs_here([machine])


def check_one_runs_here(machines: Sequence[Machine]) -> None:
    """CnnccError unless this machine can run code for one of the targets."""
    reasons = [(machine.name, machine.unfit()) for machine in machines]
    if all(why for _, why in reasons):
        name, why = reasons[-1]
        raise CnnccError(f"target {name}: {why}", hint="`cnncc compile` writes a module for it")
