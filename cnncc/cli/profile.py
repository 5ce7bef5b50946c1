"""`cnncc profile`: time of every step, next to what bounds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.cli import changes, command, predicted, screen

if TYPE_CHECKING:
    import argparse

    from rich.table import Table

    from cnncc.report.profile import Profile, Step

WIDE = 170
"""Columns of a terminal from which there is room for why a kernel was chosen."""


def _configure(parser: argparse.ArgumentParser) -> None:
    what = "a network as for `cnncc compile`; a compiled .so has no stamps in it and is timed as a whole"
    parser.add_argument("net", metavar="NET|MODEL", help=what)
    changes.add_changes(parser)
    command.add_build_options(parser)
    command.add_weight_options(parser)
    command.add_weights_dtype(parser)
    command.add_tune(parser)
    parser.add_argument(
        "--runs",
        type=command.positive,
        default=30,
        metavar="N",
        help="runs measured, of which the quietest quarter counts (default: 30)",
    )
    parser.add_argument("--top", type=command.positive, metavar="N", help="print only the N slowest steps")
    parser.add_argument("--in-order", action="store_true", help="print the steps as they run, not slowest first")
    what = "print the large convolutions below 80 %% of their limit in place of the steps, each with the reasons"
    parser.add_argument("--limits", action="store_true", help=what)
    parser.add_argument("--html", metavar="FILE", help="write it as one page: roofline, a bar for every step")
    command.add_json(parser)
    command.hold_defaults(parser)


def _run(args: argparse.Namespace) -> int:
    if args.net.endswith(".so"):
        _whole(args)
        return command.EXIT_OK
    command.fill_defaults(args)
    command.check_one_target(args)
    if _is_predicted(args):
        predicted.run(args)
        return command.EXIT_OK
    if args.html:
        command.check_outputs(args, {"the page": Path(args.html)})
    profile = _profile(args)
    if args.html:
        _write_page(args.html, profile)
    if args.json:
        command.print_json(profile.to_json())
    else:
        show(profile, args.top, args.in_order, args.limits)
        if args.html:
            print(f"written      {args.html}")
    return command.EXIT_OK


def _is_predicted(args: argparse.Namespace) -> bool:
    """Whether the target has a model of its kernels, and is not run."""
    from cnncc import machines
    from cnncc.report.profile.predict import FORMATS

    return machines.load(args.target).format in FORMATS


def _profile(args: argparse.Namespace) -> Profile:
    from cnncc import api
    from cnncc.module.cpu.build import Build
    from cnncc.module.listener import Listener
    from cnncc.report.profile import profile

    graph, _ = command.read_bound(args)
    with screen.progress(f"compiling {graph.name}") as report:
        build = api.build(graph, command.options(args), Listener(report))
        assert isinstance(build, Build)
        return profile(build, args.runs)


def _write_page(file: str, profile: Profile) -> None:
    from cnncc.report.profile import page

    command.write_page(file, page(profile))


def _whole(args: argparse.Namespace) -> None:
    """A compiled module, as one step."""
    from cnncc.base.errors import CnnccError
    from cnncc.report.profile import time_whole

    if args.html:
        raise CnnccError("--html needs the steps, and a compiled module is timed as a whole", hint="profile the NET")
    model = command.load_module(args)
    if model.ranges:  # of the size in the middle, if nobody says another one
        model = model.at_size(**model.info["middle"])
    at = "".join(f", {name} = {size}" for name, size in model.info.get("size", {}).items())
    threads = args.threads or model.info["threads"]
    seconds = time_whole(model, args.runs)
    macs = model.info.get("macs")  # of a network for a range of sizes it may not be known
    gflops = None if macs is None else 2 * macs / seconds / 1e9
    dtype = model.info.get("weights_dtype", "float32")
    if args.json:
        result: dict[str, Any] = {"name": model.name, "threads": threads, "runs": args.runs, "weights_dtype": dtype}
        result |= {"size": model.info["size"]} if "size" in model.info else {}
        command.print_json({**result, "seconds": {"unstamped": seconds}, "direct_gflops": gflops})
        return
    print(f"{model.name}: {seconds * 1e3:.3f} ms a run, {args.runs} runs, threads {threads}{at}{_weights_as(dtype)}")
    rate = "" if gflops is None else f"{gflops:.1f} GFLOP/s, operations as written; "
    print(f"{rate}for its steps, profile the network's text")


def show(profile: Profile, top: int | None = None, in_order: bool = False, limits: bool = False) -> None:
    """The steps, or with `limits` the convolutions below theirs, and the totals, for people."""
    out = screen.console()
    wide = out.width >= WIDE
    steps = profile.slowest()[:top]
    if in_order:
        kept = set(map(id, steps))
        steps = [s for s in profile.steps if id(s) in kept]
    _show_head(profile)
    if limits:
        _show_gaps(profile, top)
    else:
        out.print(_table(steps, profile.digits, wide))
    for label, text in _totals(profile, 0 if limits else len(steps)):
        out.print(f"{label:<12} {text}")
    if not wide and not limits:
        out.print("why each kernel was chosen: --json, --html, or a wider terminal")


def _show_head(profile: Profile) -> None:
    threads = f"{profile.threads} thread{'s' if profile.threads > 1 else ''}"
    weights = _weights_as(profile.weights_dtype)
    where = f"batch {profile.batch}, {threads}, {profile.target}"
    screen.console().print(f"network {profile.name}, {where}, {profile.runs} runs{weights}")
    if profile.dtype == "bfloat16":
        kept = ", ".join(profile.in_float32) or "nothing"
        screen.console().print(f"values are bfloat16; in float32: {kept}")


def _show_gaps(profile: Profile, top: int | None) -> None:
    """The largest loss first; the reasons stand below each other."""
    rows = screen.table("convolution", "algorithm", "MFLOP", "ms", "limit\nms", "of\nlimit", left=2)
    rows.add_column("besides the limit", overflow="fold")
    for gap in profile.large.gaps[:top]:
        times = (f"{seconds * 1e3:.{profile.digits}f}" for seconds in (gap.seconds, gap.limit))
        reasons = gap.reason.replace("; ", "\n")
        rows.add_row(gap.node, gap.algorithm, f"{gap.megaflops:.0f}", *times, f"{gap.of_limit:.0%}", reasons)
    if profile.large.gaps:
        screen.console().print(rows)


def _weights_as(dtype: str) -> str:
    return "" if dtype == "float32" else f", weights as {dtype}"


def _table(steps: list[Step], digits: int, wide: bool) -> Table:
    numbers = ("ms", "share", "GFLOP/s", "MB", "limit\nms", "of\nlimit", "bound\nby")
    rows = screen.table("step", "op", "kernel", *numbers, left=3)
    if wide:
        rows.add_column("why", overflow="fold")
    for step in steps:
        rows.add_row(*_row(step, digits), *([step.why] if wide else []))
    return rows


def _row(step: Step, digits: int) -> tuple[str, ...]:
    return (
        step.node,
        step.op,
        step.kernel,
        f"{step.seconds * 1e3:.{digits}f}",
        f"{step.share:.1%}",
        f"{step.gflops:.1f}" if step.flops else "",
        f"{step.bytes / 1e6:.2f}",
        f"{step.limit * 1e3:.{digits}f}",
        step.limit_share,
        step.bound,
    )


def _peaks(profile: Profile) -> str:
    """What the machine does at best, of each type that the steps multiply."""
    others = "".join(f", {flops / 1e9:.0f} of {name}" for name, flops in profile.peaks.items())
    return f"{profile.peak_flops / 1e9:.0f} GFLOP/s of multiply-adds{others}"


def _totals(profile: Profile, shown: int) -> list[tuple[str, str]]:
    p = profile
    total, whole, unstamped, limit = (f"{s * 1e3:.{p.digits}f} ms" for s in (p.total, p.whole, p.unstamped, p.limit))
    lines = [
        ("steps", f"{total}, {len(p.steps)} steps ({shown} shown)"),
        ("whole run", f"{whole} with stamps; {p.covered:.1%} of it in steps, the rest is the call"),
        ("unstamped", f"{unstamped}, {p.direct_gflops:.1f} GFLOP/s counting operations as written"),
        ("at limits", f"{limit} if every step ran at its limit (of the limit: {p.limit_share})"),
        ("machine", f"{_peaks(p)}, {p.bandwidth / 1e9:.1f} GB/s read, measured"),
    ]
    if p.large.count:
        lines.insert(4, ("convolutions", _large(p)))
    if p.busy:
        lost = f"{p.interrupted / p.whole:.0%} of the whole run is in no step's median: other processes had the cores"
        lines.append(("busy machine", lost))
    return lines


def _large(p: Profile) -> str:
    from cnncc.report.profile import MEGAFLOPS, NEAR

    found = f"{p.large.count - len(p.large.gaps)} of {p.large.count}"
    return f"{found} above {MEGAFLOPS} MFLOP run at {NEAR:.0%} of their limit or better; the others: --limits"


COMMAND = command.Command(
    name="profile",
    help="time every step of a network, next to its limit on this machine and why its kernel was chosen",
    examples="""
        cnncc profile resnet50 --top 10
        cnncc profile resnet50 --limits
        cnncc profile models/lenet5.net --threads 1 --in-order
        cnncc profile googlenet --batch 8 --html googlenet.html
        cnncc profile resnet50 --json | jq '.steps[0]'
        cnncc profile resnet50.so
        cnncc profile resnet50 --target cuda-sm_90
    """,
    configure=_configure,
    run=_run,
)
