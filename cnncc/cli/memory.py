"""`cnncc memory`: the arena of a compiled network, part by part, with its lower bound and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cnncc.cli import changes, command, screen

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cnncc.report.memory import MemoryReport


SHOWN = 8
"""Tensors at the peak, of which --json has all."""

EXPLAINED = 3
"""Kernels that take more than they should, of which --json has all."""


def _configure(parser: argparse.ArgumentParser) -> None:
    command.add_net(parser)
    changes.add_changes(parser)
    command.add_build_options(parser)
    parser.add_argument("--svg", metavar="FILE", help="write a picture: address over step, a title on each block")
    parser.add_argument("--html", metavar="FILE", help="write the report as one page, with the picture")
    command.add_scales(parser)
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import api
    from cnncc.report import memory

    command.check_one_target(args)
    written = {f"the {kind} file": Path(file) for kind in ("svg", "html") if (file := getattr(args, kind))}
    command.check_outputs(args, written)
    program = api.program(command.read_shown(args), command.options(args))
    facts = memory.report(program)
    advice = memory.hints(program, facts)
    if args.svg:
        command.write_page(args.svg, memory.svg(facts))
    if args.html:
        command.write_page(args.html, memory.page(facts, advice))
    if args.json:
        command.print_json({**facts.to_json(), "hints": advice})
    else:
        show(facts, advice)
        for path in written.values():
            screen.print_field("written", str(path))
    return command.EXIT_OK


def show(facts: MemoryReport, advice: list[str]) -> None:
    """The report, for people."""
    threads = f"{facts.threads} thread{'s' if facts.threads > 1 else ''}"
    print(f"network {facts.name}, batch {facts.batch}, {threads}, target {facts.target}")
    for label, text in (*_parts(facts), *_peak(facts), *_exceeding(facts)):
        screen.print_field(label, text)
    for line in advice:
        screen.print_field("to lower it", line)


def _parts(f: MemoryReport) -> Iterator[tuple[str, str]]:
    share = f" ({f.added / f.activations:.1%} of the activations)" if f.activations else ""
    order = "changed, for less memory" if f.reordered else "as written"
    proof = "proven to need the least" if f.proven else "no better one was found"
    if f.batch > 1:
        more = f"{screen.size(f.total)} for one, and {screen.size(f.further)} for each further one"
        yield f"{f.batch} images", f"{screen.size(f.of_batch)}: {more}; below is that of one"
    yield "arena", f"{screen.size(f.total)}; these kernels in this order need {_bounded(f.total_bound, f.total_gap)}"
    yield "activations", f"{screen.size(f.activations)}; no plan needs less than {_bounded(f.bound, f.gap)}"
    yield "workspace", f"{screen.size(f.workspace)} at the most, between the calls of one layer"
    yield "scratch", f"{screen.size(f.scratch)} at the most, of {f.threads} thread{'s' if f.threads > 1 else ''}"
    yield "counters", f"{screen.size(f.counters)}, for each kernel call one of every thread and one for all"
    yield (
        "added",
        f"{screen.size(f.added)} beyond the activations{share}; the rest of these lies in what they leave free",
    )
    yield "order", f"{order}; {proof} of all orders"


def _bounded(bound: int, gap: float) -> str:
    return f"{screen.size(bound)}: gap {100 * gap:.1f} %"


def _peak(f: MemoryReport) -> Iterator[tuple[str, str]]:
    step = f.steps[f.peak]
    yield "peak", f"{step.node} ({step.op}), {screen.size(step.activations)} of activations alive:"
    for held in f.held[:SHOWN]:
        yield "", f"{screen.size(held.bytes)} {held.name}, {held.role}"
    if len(f.held) > SHOWN:
        yield "", f"and {len(f.held) - SHOWN} more, in --json"
    most = f.steps[f.largest]
    if f.largest != f.peak:
        parts = f"activations {screen.size(most.activations)}, workspace {screen.size(most.workspace)}"
        yield "largest", f"{most.node} ({most.op}): {parts}, scratch {screen.size(most.scratch)}"


def _exceeding(f: MemoryReport) -> Iterator[tuple[str, str]]:
    for node, over, why in f.exceeding[:EXPLAINED]:
        yield "beyond 15 %", f"{screen.size(over)} for {node}: {why}"
    if len(f.exceeding) > EXPLAINED:
        yield "", f"and {len(f.exceeding) - EXPLAINED} more layers, in --json"


COMMAND = command.Command(
    name="memory",
    help="print what the arena of a compiled network holds, the least it could be, and what would lower it",
    examples="""
        cnncc memory densenet121
        cnncc memory models/resnet50.net --batch 8 --threads 4 --html memory.html
        cnncc memory unet --json | jq .gap
    """,
    configure=_configure,
    run=_run,
)
