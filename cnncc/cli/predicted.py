"""`cnncc profile NET --target cuda...`: what a GPU would take, without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncc.cli import command, screen

if TYPE_CHECKING:
    import argparse

    from cnncc.report.profile.predict import Copies, PredictedStep, Prediction


def run(args: argparse.Namespace) -> None:
    """Prints the prediction. CnnccError for options that only a measurement has."""
    from cnncc.base.errors import CnnccError

    if args.html or args.limits:
        raise CnnccError("--html and --limits need measured steps, and for a GPU they are predicted")
    prediction = _predict(args)
    if args.json:
        command.print_json(prediction.to_json())
        return
    steps = prediction.slowest()[: args.top]
    if args.in_order:
        kept = set(map(id, steps))
        steps = [s for s in prediction.steps if id(s) in kept]
    _show(prediction, steps)


def _predict(args: argparse.Namespace) -> Prediction:
    from cnncc import api
    from cnncc.module.gpu.build import CudaBuild
    from cnncc.module.listener import Listener
    from cnncc.report.profile.predict import predict

    graph, _ = command.read_bound(args)
    with screen.progress(f"compiling {graph.name}") as report:
        build = api.build(graph, command.options(args), Listener(report))
        assert isinstance(build, CudaBuild)
        return predict(build)


def _show(p: Prediction, steps: list[PredictedStep]) -> None:
    out = screen.console()
    out.print(f"network {p.name}, batch {p.batch}, code for {p.architecture}: a PREDICTION for one {p.device}")
    numbers = ("grid", "threads", "regs", "shared", "occu-\npancy", "MFLOP", "MB", "limit\nus", "us", "of\nlimit")
    rows = screen.table("step", "op", "kernel", *numbers, "bound\nby", left=3)
    for s in steps:
        rows.add_row(*_row(s))
    out.print(rows)
    convolutions = [s for s in p.steps if s.op.removeprefix("q").startswith("conv") and s.products]
    slow = [s for s in sorted(convolutions, key=lambda s: s.of_limit) if s.of_limit < HALF]
    named = ", ".join(f"{s.node} {s.of_limit:.0%}" for s in slow[:NAMED])
    named += f" and {len(slow) - NAMED} more (--json)" if len(slow) > NAMED else ""
    few = f"{len(convolutions) - len(slow)} of {len(convolutions)} convolutions at {HALF:.0%} of their limit or above"
    spilled = sum(s.spilled_bytes > 0 for s in p.steps)
    copies = f"{_said(p.inputs)} in, {_said(p.outputs)} out"
    lines = [
        ("kernels", f"{p.kernels * 1e6:.0f} us in {len(p.steps)} launches ({len(steps)} shown)"),
        ("on device", f"{p.on_device * 1e6:.0f} us with {p.launch * 1e6:.1f} us between two kernels"),
        ("with copies", f"{p.total * 1e6:.0f} us if the arrays are the host's: {copies}"),
        ("at limits", f"{p.limit * 1e6:.0f} us if every kernel ran at its roofline limit"),
        ("below half", f"{few}{f'; not {named}' if slow else ''}"),
        ("spills", f"{spilled} kernels keep registers in memory" if spilled else "none"),
    ]
    for label, text in lines:
        out.print(f"{label:<12} {text}")
    out.print("Nothing was run: occupancy and registers are the compiler's, times those of a model (docs/cuda.md).")


def _said(copies: Copies) -> str:
    return f"{copies.bytes / 1e6:.2f} MB in {copies.seconds * 1e6:.0f} us"


def _row(s: PredictedStep) -> tuple[str, ...]:
    return (
        s.node,
        s.op,
        s.kernel,
        "x".join(map(str, s.grid)),
        str(s.threads),
        str(s.registers),
        str(s.shared_bytes),
        f"{s.occupancy:.0%}",
        f"{s.flops / 1e6:.1f}",
        f"{s.bytes / 1e6:.2f}",
        f"{s.limit * 1e6:.1f}",
        f"{s.seconds * 1e6:.1f}",
        f"{s.of_limit:.0%}",
        s.bound,
    )


NAMED = 8
"""Slow convolutions listed by name."""
HALF = 0.5
"""Share of the roofline limit from which a convolution counts as good."""
