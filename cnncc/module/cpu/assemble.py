"""From LLVM IR to machine code, through llvmlite. Whoever imports this file loads LLVM."""

from __future__ import annotations

from dataclasses import replace

import llvmlite.binding as llvm

from cnncc.machines.targets import Target
from cnncc.module.keys import GLUE_OPTIONS


def initialise_llvm() -> None:
    """Makes all of LLVM's targets known to llvmlite."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def parse_glue(text: str, target: Target) -> llvm.ModuleRef:
    """The glue module, verified, with the data layout of the target."""
    initialise_llvm()
    module = llvm.parse_assembly(text)
    module.verify()
    machine = machine_of(target)
    module.data_layout = str(machine.target_data)
    return module


def machine_of(target: Target) -> llvm.TargetMachine:
    """LLVM's code generator for position-independent code on the target."""
    initialise_llvm()
    chosen = llvm.Target.from_triple(target.triple)
    features = ",".join(target.features)
    return chosen.create_target_machine(cpu=target.cpu, features=features, abiname=target.abi, **GLUE_OPTIONS)


def glue_machine(target: Target) -> llvm.TargetMachine:
    """The code generator of the glue. It uses only what every processor of the kind has: the glue runs before anybody
    has looked what this one has."""
    return machine_of(replace(target, cpu=target.baseline, features=()) if target.baseline else target)


def assembled(text: str, target: Target) -> bytes:
    """The glue as an object file."""
    body: bytes = glue_machine(target).emit_object(parse_glue(text, target))
    return body
