"""What makes a module for each kind of machine: the one place where machines, kernel rules and builders meet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cnncc import machines
from cnncc.base.elements import Element
from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, Node
from cnncc.ir.ranged import Ranged
from cnncc.kernels.shared.choices import Choices
from cnncc.kernels.shared.spec import Selection
from cnncc.machines import Machine
from cnncc.module.listener import Listener
from cnncc.module.program import Program
from cnncc.options import Options

if TYPE_CHECKING:
    from cnncc.module.built import Built
    from cnncc.module.phases import Stage

HOMES = {"elf": "cnncc.module.cpu.backend", "wasm": "cnncc.module.cpu.backend", "cuda": "cnncc.module.gpu.backend"}
"""Where the `BACKEND` of each format is; imported when it is used."""


class Backend(ABC):
    """Selects kernels for a kind of machine, and makes code of them. Machines, programs and results are of its own
    classes."""

    arena_from: str
    """Where the memory of a run comes from, for people."""
    kinds: Sequence[str]
    """Of files that a module can be written as; see `cnncc.module.roles`."""
    takes: Mapping[str, frozenset[Element]]
    """Op -> the types of numbers that its kernels take and give; of all other ops these are float32."""

    @abstractmethod
    def rules(
        self, stage: Stage, machine: Any, options: Options, choices: Choices, like: Mapping[str, Selection]
    ) -> Callable[[Node], Selection]:
        """What selects the kernels of each node of a graph with its plan. `like` has those of the same network for
        another size of its inputs, whose packed weights are to be read."""

    @abstractmethod
    def program(
        self, source: Graph, stage: Stage, selections: Mapping[str, Selection], machine: Any, options: Options
    ) -> Program[Any]:
        """The program of these kernels; `source` is the graph as written, with the batch."""

    def joined(self, programs: Sequence[Any]) -> Any:
        """The program of the first of several sizes of a network's inputs, with those of the others. CnnccError if the
        machine has no modules for several sizes, or if the programs are not of one network."""
        first, *others = programs
        if others:
            hint = "compile a module for each size"
            raise CnnccError(f"target {first.target.name}: a module has one size of its inputs", hint=hint)
        return first

    def ranged(
        self, network: Ranged, machine: Any, options: Options, choices: Choices, listener: Listener
    ) -> Program[Any]:
        """The program of a network for a range of sizes of its inputs. CnnccError if the machine has no such modules,
        and for a network that is not one at all sizes."""
        hint = "give one size: --shape, in Python shape="
        raise CnnccError(f"target {machine.name}: a module has one size of its inputs, no range", hint=hint)

    @abstractmethod
    def build(self, programs: Sequence[Any], listener: Listener) -> Built:
        """Machine code of a network lowered for one target, or for several that share a module, best first. CnnccError
        for arrays that kernels cannot index."""

    def best_first(self, machines: Sequence[Any]) -> Sequence[Any]:
        """Several machines that share a module, those with the most features first. CnnccError if they cannot."""
        raise _cannot_share(machines)


def best_first(machines: Sequence[Machine]) -> Sequence[Machine]:
    """Machines that share a module in the order in which a processor looks for one that it can run. CnnccError if they
    cannot share a module."""
    if len(machines) == 1:
        return machines
    if len({machine.format for machine in machines}) > 1:
        raise _cannot_share(machines)
    return backend_of(machines[0]).best_first(machines)


def for_this_machine(options: Options) -> Options:
    """The options for the best target alone that this machine can run: what is not written needs no other. CnnccError
    if it can run none of them, or if they cannot share a module."""
    named = [machines.load(name) for name in options.targets]
    machines.check_one_runs_here(named)
    return replace(options, targets=(next(machine.name for machine in best_first(named) if not machine.unfit()),))


def _cannot_share(machines: Sequence[Machine]) -> CnnccError:
    names = ",".join(machine.name for machine in machines)
    return CnnccError(f"target {names}: only targets of x86-64 fit into one module")


def backend_of(machine: Machine) -> Backend:
    """What makes modules for a machine."""
    backend: Backend = import_module(HOMES[machine.format]).BACKEND
    return backend
