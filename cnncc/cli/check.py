"""`cnncc check`: the compiled module against the NumPy reference, layer by layer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cnncc.base.elements import BFLOAT16
from cnncc.cli import changes, command, screen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cnncc.ir.ranged import Ranged
    from cnncc.quantization.scheme import Scheme
    from cnncc.report.check import CheckReport, LayerCheck, Overflow


def _configure(parser: argparse.ArgumentParser) -> None:
    command.add_net(parser)
    changes.add_changes(parser)
    command.add_build_options(parser)
    command.add_weight_options(parser)
    command.add_weights_dtype(parser)
    command.hold_defaults(parser)
    parser.add_argument("--all", action="store_true", help="print every layer, not only the worst ones")
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc.report import check

    if args.net.endswith(".so"):
        return _tell_sizes(_check_module(args), args)
    command.fill_defaults(args)
    network = command.read_source(args)
    with screen.progress(f"checking {network.graph.name}") as progress:
        if network.ranged is not None:
            found = check.check_ranged(network.graph, network.ranged, command.options(args), args.seed, progress)
            return _tell_sizes(found, args)
        report = check.check(network.graph, command.options(args), args.seed, progress)
    return _tell(report, args, network.scheme)


def _check_module(args: argparse.Namespace) -> Mapping[str, CheckReport]:
    """A compiled module against the network that it says it was made of: for the shapes of its inputs at each size."""
    from cnncc.base.errors import CnnccError
    from cnncc.frontends import sources
    from cnncc.report import check

    model = command.load_module(args)
    origin = model.info.get("origin")
    if not origin or not sources.exists(origin["net"]):
        what = f"from {origin['net']}, which is not there" if origin else "by an earlier version, or from Python"
        hint = "check the network itself: cnncc check NET"
        raise CnnccError(f"{args.net} was compiled {what}: there is nothing to compare it with", hint=hint)
    told = {"dtype": None, **origin, **({"shape": args.shape} if args.shape else {})}
    sizes = command.read_sizes(argparse.Namespace(**told, threads=args.threads))
    with screen.progress(f"checking {args.net} against {origin['net']}"):
        if model.ranges:
            (whole,) = sizes
            return check.check_ranged_module(model, _of_range(whole.ranged, args))
        return {
            ", ".join(port.shapes for port in known.inputs): check.check_module(model, size.graph, number=i)
            for i, (known, size) in enumerate(zip(model.sizes, sizes, strict=True))
        }


def _of_range(network: Ranged | None, args: argparse.Namespace) -> Ranged:
    """The network of a module for a range. CnnccError for one without."""
    from cnncc.base.errors import CnnccError

    if network is None:
        hint = "compile it again, or name the network it was compiled from"
        raise CnnccError(f"{args.net} was compiled from another network: this one has no range", hint=hint)
    return network


def _tell_sizes(reports: Mapping[str, CheckReport], args: argparse.Namespace) -> int:
    """Of a module for several sizes, by the shapes of each."""
    if len(reports) == 1:
        return _tell(next(iter(reports.values())), args)
    passed = all(report.passed for report in reports.values())
    if len(reports) > MANY_SIZES and not (args.json or args.all or args.quiet):
        _show_sizes(reports)
        return command.EXIT_OK if passed else command.EXIT_CHECK_FAILED
    if args.json:
        sizes = [{"shapes": shapes, **report.to_json()} for shapes, report in reports.items()]
        command.print_json({"passed": passed, "sizes": sizes})
        return command.EXIT_OK if passed else command.EXIT_CHECK_FAILED
    for shapes, report in reports.items():
        if not args.quiet:
            print(f"size {shapes}")
        _tell(report, args)
    return command.EXIT_OK if passed else command.EXIT_CHECK_FAILED


def _show_sizes(reports: Mapping[str, CheckReport]) -> None:
    """Many sizes, by the worst output at each, and what the first one outside its tolerance has."""
    rows = [(size, *_row(report.worst)) for size, report in reports.items() if report.worst]
    screen.print_table(("size", "layer", "op", "error", "allowed", "result"), rows, left=3, drop=("op", "allowed"))
    print("the worst output at each size; error = largest difference / largest value of the float64 reference")
    for size, report in reports.items():
        if report.first_failure:
            print(f"size {size}")
            _show_failure(report.first_failure)
            return
    name = next(iter(reports.values())).name
    print(f"{name}: all outputs within their tolerance at {len(reports)} sizes of the range")


def _tell(report: CheckReport, args: argparse.Namespace, scheme: Scheme | None = None) -> int:
    if args.json:
        command.print_json({**report.to_json(), **({} if scheme is None else {"calibration": dict(scheme.about)})})
    elif not args.quiet:
        _show(report, args.all, scheme)
    elif report.first_failure:
        if report.overflow:
            print(f"overflow: {_told(report.overflow)}")
        _show_failure(report.first_failure)
    return command.EXIT_OK if report.passed else command.EXIT_CHECK_FAILED


def _show(report: CheckReport, everything: bool, scheme: Scheme | None) -> None:
    ranked = report.layers if everything else sorted(report.layers, key=lambda layer: -layer.error)[:SHOWN]
    rows = [_row(layer) for layer in ranked]
    screen.print_table(("layer", "op", "error", "allowed", "result"), rows, left=2, drop=("op", "allowed"))
    print("error = largest difference / largest value of the float64 reference, both absolute")
    if report.rounding is not None:
        what = "weights and values" if report.dtype == report.weights_dtype else "weights"
        print(f"the reference has {what} rounded to {report.weights_dtype} too; without, its outputs differ", end=" ")
        print(f"by up to {report.rounding:.2e}")
    if report.integers:
        found = report.integers
        print(f"bytes: {found.differing} of {found.compared} differ from the definition (docs/int8.md)")
    if scheme is not None and "outputs" in scheme.about:
        _show_distance(scheme.about)
    if report.worst:
        print(f"worst layer {report.worst.name}: {report.worst.error:.2e}")
    if report.overflow:
        print(f"overflow: {_told(report.overflow)}")
    if report.first_failure:
        _show_failure(report.first_failure)
    else:
        print(f"{report.name}: all {len(report.layers)} compared layers within their tolerance")


def _told(overflow: Overflow) -> str:
    """Where values became infinite, why, and what to do."""
    layer = f"{overflow.name} ({overflow.op}) is the first layer with values that are not finite"
    if overflow.largest is None or overflow.largest <= overflow.held:
        return f"{layer}; the reference has finite ones"
    needs = f"{layer}: it reads or gives {overflow.largest:.4g}, and its type holds {overflow.held:.5g} at most"
    return f"{needs}; `--dtype bfloat16` has the range of float32" if overflow.held < BFLOAT16.most else needs


def _show_distance(about: Mapping[str, Any]) -> None:
    """How far a network on bytes is from float32, as measured when its scales were found."""
    for name, figures in about["outputs"].items():
        same = f"largest element the same in {figures['agreement']:.1%}"
        print(f"from float32: {name} {figures['decibels']:.1f} dB, {same} of the {about['images']} calibration images")


def _row(layer: LayerCheck) -> tuple[str, ...]:
    return layer.name, layer.op, f"{layer.error:.2e}", f"{layer.allowed:.2e}", "ok" if layer.passed else "OUTSIDE"


def _show_failure(layer: LayerCheck) -> None:
    print(f"first layer outside its tolerance: {layer.name} ({layer.op}), {layer.error:.2e} > {layer.allowed:.2e}")
    index = ", ".join(map(str, layer.outlier_index or ()))
    print(f"  first outlier at [{index}]: compiled {layer.outlier_got!r}, reference {layer.outlier_expected!r}")
    print(f"  outliers: {layer.outlier_ratio:.2%} of its values")


SHOWN = 5
"""Layers printed without `--all`."""
MANY_SIZES = 3
"""Sizes of a module, from which on each has one line without `--all`."""

COMMAND = command.Command(
    name="check",
    help="compare the compiled module with the NumPy reference on seeded random input, layer by layer",
    examples="""
        cnncc check models/lenet5.net
        cnncc check resnet50 --all
        cnncc check mobilenet_v2 --shape 3x320x320
        cnncc check resnet50.so                     its outputs, against the network it was compiled from
        cnncc check my.net --weights my.safetensors --json
    """,
    configure=_configure,
    run=_run,
    exits="0 every layer within its tolerance; 1 a layer outside; 2 bad input or usage",
)
