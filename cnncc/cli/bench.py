"""`cnncc bench`: cnncc against other runtimes, on the same network and weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cnncc.cli import bench_kernels, changes, command, moment, screen

if TYPE_CHECKING:
    from cnncc.bench import Competitor, Result

ROUNDS = 7
SECONDS = 0.5
"""Turns of each, and the length of a turn, by default."""

SETTINGS = ("target", "dtype", "batch", "threads", "max_error", "rounds", "seconds")
"""Options that stand beside the figures."""
NAME_WIDTH = 18
"""Columns of a network's name, and of a time, in the table of several."""
TIME_WIDTH = 9


def _configure(parser: argparse.ArgumentParser) -> None:
    what = "a .net file, an ONNX model, - for standard input, or a network of the zoo by name"
    parser.add_argument("nets", nargs="*", metavar="NET", help=what)
    parser.add_argument("--zoo", action="store_true", help="the networks of `make bench` in place of NET")
    parser.add_argument(
        "--vs",
        type=names,
        metavar="NAMES",
        help="of onnxruntime, openvino, mnn, ncnn, torch, torch_compile, executorch, with commas between "
        "(default: those installed)",
    )
    parser.add_argument("--rounds", type=command.positive, metavar="N", help=f"turns of each (default: {ROUNDS})")
    what = f"length of a turn (default: {SECONDS}); with --kernels, for the candidates of each layer (default: 5)"
    parser.add_argument("--seconds", type=duration, metavar="S", help=what)
    what = "in place of NET: for each of a fixed list of convolutions, the kernel picked against the best candidate"
    parser.add_argument("--kernels", action="store_true", help=what)
    what = "with --kernels: only these layers, with commas between"
    parser.add_argument("--layers", type=names, metavar="NAMES", help=what)
    changes.add_changes(parser)
    command.add_build_options(parser)
    command.add_weight_options(parser)
    command.add_dtype(parser, ("float32", "bfloat16", "int8"))
    command.add_json(parser)


def names(text: str) -> list[str]:
    """An argparse type: names with commas between them."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("expected at least one name")
    return found


def duration(text: str) -> float:
    """An argparse type: seconds, more than 0 and at most 3600."""
    seconds = command.real(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected a number above 0, at most 3600, got {text!r}")
    return seconds


def _run(args: argparse.Namespace) -> int:
    command.check_one_target(args)
    if args.kernels or args.layers:
        return bench_kernels.run(args)
    args.rounds, args.seconds = args.rounds or ROUNDS, args.seconds or SECONDS
    return _run_nets(args)


def _run_nets(args: argparse.Namespace) -> int:
    from cnncc.frontends import sources
    from cnncc.machines import targets

    nets = _nets(args)
    if args.weights and args.dtype == "float32" and sources.scales(args.weights) is not None:
        args.dtype = "int8"  # that is what the file makes of the network
    peers = _peers(args)
    args.threads = args.threads or targets.load(args.target).cores
    about = _about(args, peers)
    if not args.json:
        _show_about(about)
    results: list[Result] = []
    for net in nets:
        results.append(_measure(net, args, peers))
        if args.json:
            continue
        if len(nets) == 1:
            _show_one(results[-1])
            continue
        if len(results) == 1:
            judged = args.dtype != "float32" or _judge(results[0]) is not None
            exact = ["exact ms"] if judged else []
            _print_row(["network", "cnncc ms", *exact, *(f"{name} ms" for name in peers), "ahead"], "best")
        _show_row(results[-1], judged)
    _finish(about, results, args)
    return command.EXIT_OK if all(r.confirmed for r in results) else command.EXIT_CHECK_FAILED


def _peers(args: argparse.Namespace) -> list[str]:
    """Those to compare with. CnnccError for one that is not installed, or does not compute what is asked for."""
    from cnncc import bench
    from cnncc.base.errors import CnnccError

    able = _possible(args)
    if args.vs is None:
        return bench.require([name for name in bench.installed() if name in able] or able)
    for name in args.vs:
        if name in bench.PEERS and name not in able:
            raise CnnccError(f"{name} takes no ONNX model on bytes", hint=f"with --dtype int8: {', '.join(able)}")
    return bench.require(args.vs)


def _possible(args: argparse.Namespace) -> Sequence[str]:
    """The peers that compute in the type that is asked for, or at least the same network."""
    from cnncc.bench import peers

    return peers.ON_BYTES if args.dtype == "int8" else tuple(peers.PEERS)


def _nets(args: argparse.Namespace) -> list[str]:
    from cnncc import bench
    from cnncc.base.errors import CnnccError

    if bool(args.nets) == args.zoo:
        raise CnnccError("name the networks to measure, or say --zoo: one of the two")
    nets = list(bench.ZOO) if args.zoo else args.nets
    for option, what in (("weights", "a file for"), ("name", "the name of")):
        if getattr(args, option) and len(nets) > 1:
            raise CnnccError(f"--{option} is {what} one network, and {len(nets)} are named")
    return nets


def _measure(net: str, args: argparse.Namespace, peers: list[str]) -> Result:
    """One network, in a temporary folder that goes away."""
    from cnncc import bench
    from cnncc.base.files import scratch_folder

    found = command.read_source(argparse.Namespace(**{**vars(args), "net": net}))
    graph = found.graph
    model = None if args.shape else bench.own_model(net, found, args.batch)
    with scratch_folder(prefix="cnncc-bench-") as folder, screen.progress(f"writing {graph.name}") as report:
        job = bench.write_job(graph, folder, command.options(args), model, found.unquantised)
        tell = report and (lambda what, done, total: report(f"{graph.name}: {what}", done, total))
        return bench.result(bench.contest(job, peers, args.rounds, args.seconds, tell))


def _about(args: argparse.Namespace, peers: list[str]) -> dict[str, Any]:
    """What has to stand beside any figure: the machine, the moment, how busy it was, the command, the settings."""

    return {
        **moment.moment(),
        **{key: getattr(args, key) for key in SETTINGS},
        "vs": peers,
        "not_installed": [name for name in _possible(args) if args.vs is None and name not in peers],
    }


def _show_about(about: dict[str, Any]) -> None:
    from cnncc.bench import peers

    moment.show(about)
    print(
        f"{about['dtype']}, batch {about['batch']}, threads {about['threads']}, rounds {about['rounds']}, turns of "
        f"{about['seconds']:g} s, one process awake at a time"
    )
    if about["not_installed"]:
        print(f"not installed: {', '.join(about['not_installed'])} ({peers.hint(about['not_installed'])})")
    print(flush=True)


def _show_one(result: Result) -> None:
    """A line for each competitor."""
    rows = [_row(c) for c in result.competitors]
    judged = any(c.is_judge for c in result.competitors)
    last = "dB from exact" if judged else "difference"
    columns = (result.net, "median ms", "p15 ms", "runs", "time / cnncc's", "rounds", last)
    screen.print_table(columns, rows, drop=("rounds", "runs"))
    if result.best and result.best.times:
        low, high = result.best.times.ratio_low, result.best.times.ratio_high
        print(f"ahead of the best, {result.best.about}: {result.ahead:.2f} times (rounds {low:.2f}-{high:.2f})")
    if result.gain is not None:
        print(f"ahead of cnncc in float32: {result.gain:.2f} times")
    print(f"taken by other processes: {result.others:.1%} of the machine")
    _show_problems(result)


def _row(competitor: Competitor) -> tuple[str, ...]:
    times = competitor.times
    if times is None:
        return (competitor.about, "failed", "", "", "", "", "")
    return (
        competitor.about,
        f"{times.median_ms:.2f}",
        f"{times.p15_ms:.2f}",
        str(times.runs),
        f"{times.ratio:.2f}",
        f"{times.ratio_low:.2f}-{times.ratio_high:.2f}",
        _distance(competitor),
    )


def _distance(competitor: Competitor) -> str:
    """Of its answer from the exact one, or from cnncc's where everybody computes in float32."""
    if competitor.is_judge:
        return ""
    return f"{competitor.difference:.1e}" if competitor.decibels is None else f"{competitor.decibels:.1f}"


def _judge(result: Result) -> Competitor | None:
    """Who says what is exact."""
    return next((c for c in result.competitors if c.is_judge), None)


def _show_row(result: Result, judged: bool) -> None:
    """The line of one network among several, with a column for who is exact if any has one."""
    ours, judge = result.competitors[0], _judge(result)
    exact = [_cell(judge) if judge else "-"] if judged else []
    times = [_cell(ours), *exact, *(_cell(c) for c in result.peers)]
    ahead = f"{result.ahead:.2f}" if result.ahead else "-"
    _print_row([result.net, *times, ahead], result.best.name if result.best else "-")
    _show_problems(result)


def _cell(competitor: Competitor) -> str:
    if competitor.times is None:
        return "failed"
    return f"{competitor.times.median_ms:.2f}{'*' if competitor.problem else ''}"


def _print_row(cells: list[str], last: str) -> None:
    """The line of a table that grows while it is measured: no column can wait for the longest of its cells."""
    first, *others = cells
    widths = [max(TIME_WIDTH, len("onnxruntime ms"))] * len(others)
    text = "".join(f" {cell:>{width}}" for cell, width in zip(others, widths, strict=True))
    print(f"{first:<{NAME_WIDTH}}{text}  {last}", flush=True)


def _show_problems(result: Result) -> None:
    """Who failed, and who gives another answer."""
    for competitor in result.competitors:
        if competitor.problem:
            print(f"  {'* ' if competitor.times else ''}{competitor.about}: {competitor.problem}", flush=True)


def _finish(about: dict[str, Any], results: list[Result], args: argparse.Namespace) -> None:
    from statistics import geometric_mean as mean_of

    from cnncc.base.errors import warn
    from cnncc.bench import geometric_mean

    for result in results:
        if result.disturbed:
            warn(f"{result.net}: other processes took {result.others:.0%} of the machine; measure again")
    mean = geometric_mean(results)
    if args.json:
        command.print_json({**about, "nets": [r.to_json() for r in results], "geometric_mean": mean})
    elif len(results) > 1 and mean is not None:
        counted = sum(r.ahead is not None for r in results)
        print(f"ahead = time of the best peer / ours; geometric mean of {counted} networks: {mean:.2f}")
        gains = [r.gain for r in results if r.gain is not None]
        if gains:
            print(f"float32 / ours: geometric mean {mean_of(gains):.2f}, least {min(gains):.2f}")


COMMAND = command.Command(
    name="bench",
    help="compare the speed with other runtimes, on the same network and weights",
    examples="""
        cnncc bench resnet50
        cnncc bench my.net --weights my.safetensors --vs onnxruntime,openvino --threads 1
        cnncc bench resnet18 mobilenet_v1 --batch 8 --shape 3x320x320
        cnncc bench resnet50_v1_5 mobilenet_v2 --dtype int8
        cnncc bench --zoo --json > zoo.json
        cnncc bench --kernels
    """,
    configure=_configure,
    run=_run,
    exits="0 done; 1 on some network no competitor gave the same answer, or a pick is more than 10 % slower than "
    "the best candidate; 2 bad input or usage",
)
