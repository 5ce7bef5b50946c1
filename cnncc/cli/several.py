"""One module for several CPUs: `--target` as a list with commas."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from cnncc.cli import command

if TYPE_CHECKING:
    from cnncc.ir import Graph
    from cnncc.machines.targets import Target
    from cnncc.module.cpu.build import Build


def builds(graph: Graph, args: argparse.Namespace, progress: Any, on_pass: Any) -> list[Build]:
    """The network compiled for each target, best first: a processor takes the first whose features it has.

    CnnccError for targets that cannot share a module.
    """
    from cnncc.machines import targets

    chosen = [targets.load(name) for name in args.target.split(",")]
    _check(chosen, args)
    best_first = sorted(chosen, key=lambda target: -len(target.requires))
    threads = args.threads or max(target.cores for target in chosen)
    made = []
    for i, target in enumerate(best_first):
        alone = argparse.Namespace(**{**vars(args), "target": target.name, "threads": threads})
        build = command.build(graph, alone, progress, on_pass if i == 0 else None)
        made.append(cast("Build", build))  # of processors, which _check saw to
    return made


def _check(chosen: Sequence[Target], args: argparse.Namespace) -> None:
    from cnncc.base.errors import CnnccError
    from cnncc.module.roles import CUDA_KINDS

    sources = [kind for kind in args.emit if kind in CUDA_KINDS]
    if sources:
        raise CnnccError(f"--emit {sources[0]} is for GPUs, got --target {args.target}")
    if len(chosen) == 1:
        return
    triples = {target.triple for target in chosen}
    if len(triples) > 1 or not chosen[0].triple.startswith("x86_64"):
        raise CnnccError(f"--target {args.target}: only targets of x86-64 fit into one module")
    if len({frozenset(target.requires) for target in chosen}) < len(chosen):
        raise CnnccError(f"--target {args.target}: two of them require the same features, so one would never be taken")
    listings = [kind for kind in args.emit if kind in ("ll", "asm")]
    if listings:
        raise CnnccError(f"--emit {listings[0]} takes one target, got {args.target}")
