"""`cnncc quantize`: by which scales the values of a network become bytes, from images of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cnncc.cli import changes, command, run_files, screen

if TYPE_CHECKING:
    import argparse

    from cnncc.calibrate.observe import Images
    from cnncc.calibrate.search import Calibrated
    from cnncc.ir import Graph

SHOWN = 10
"""Values printed without `--all`: those furthest from float32."""
LISTED = 12
"""Names of layers that stay float32, at most."""
RANGES = ("minmax", "mse", "entropy")


def _configure(parser: argparse.ArgumentParser) -> None:
    command.add_net(parser)
    changes.add_changes(parser)
    what = "images as `cnncc run` takes them: a folder, images, or .npy arrays; some tens are enough"
    parser.add_argument("--calibrate", metavar="PATH", nargs="+", required=True, help=what)
    what = "minmax covers all values; mse has the least squared error, entropy the least divergence; "
    what += "percentile P leaves out those furthest from 0, so that P percent stay (default: minmax)"
    parser.add_argument("--range", nargs="+", default=["minmax"], metavar="METHOD", help=what)
    what = "layers that stay float32, by name, with commas between them"
    parser.add_argument("--keep", metavar="LAYERS", help=what)
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the weights, with the scales beside them"
    )
    parser.add_argument("--html", metavar="FILE", help="write the report as one page, with a histogram of each value")
    parser.add_argument("--all", action="store_true", help="print every value, not only the worst ones")
    parser.add_argument("--no-gains", action="store_true", help="do not try what single layers in float32 give back")
    command.add_build_options(parser, batch=False)
    command.add_weight_options(parser)
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc.calibrate.search import calibrate
    from cnncc.module.backends import for_this_machine
    from cnncc.module.listener import Listener

    written = {"the weights with scales": Path(args.output)}
    written |= {"the page": Path(args.html)} if args.html else {}
    command.check_outputs(args, written, {f"the images {path}": path for path in args.calibrate})
    _check_name(args.output)
    method, percent = _method(args.range)
    options = for_this_machine(command.options(args))
    network = command.read_source(args)
    _refuse_bytes(args, network.unquantised is not None)
    command.warn_of_random(network.graph, command.origin_of(network, args))
    keep = [name for name in (args.keep or "").split(",") if name]
    failed = run_files.Unreadable()
    with screen.progress(f"calibrating {network.graph.name}") as report:
        images, files = _images(args.calibrate, network.graph, failed)
        found = calibrate(
            network.graph, images, method, percent, keep, options, Listener(report), gains=not args.no_gains
        )
    found.save(args.output)
    if args.html:
        from cnncc.report import quantized

        command.write_page(args.html, quantized.page(found))
    if args.json:
        command.print_json(found.to_json())
    elif not args.quiet:
        _show(found, args)
    return failed.exit_code(files)


def _check_name(output: str) -> None:
    """CnnccError for a name under which nobody would read the file as weights."""
    from cnncc.base.errors import CnnccError

    if Path(output).suffix != ".safetensors":
        raise CnnccError(f"-o {output}: what is written is weights", hint="a name that ends in .safetensors")


def _refuse_bytes(args: argparse.Namespace, has_scales: bool) -> None:
    from cnncc.base.errors import CnnccError

    if has_scales:
        hint = "name the weights in float32 by --weights"
        raise CnnccError(
            f"{args.net} has scales already: its weights' file is one that `cnncc quantize` wrote", hint=hint
        )


def _method(given: list[str]) -> tuple[str, float | None]:
    """The name of a method, and its number. CnnccError for what is none."""
    from cnncc.base.errors import CnnccError

    name, *rest = given
    if name != "percentile":
        if rest:
            raise CnnccError(f"--range {name} takes no number, got {rest[0]!r}")
        return name, None
    try:
        (percent,) = map(float, rest)
    except ValueError:
        raise CnnccError("--range percentile takes one number", hint="e.g. --range percentile 99.99") from None
    return name, percent


def _images(paths: list[str], graph: Graph, failed: run_files.Unreadable) -> tuple[Images, int]:
    """The images of the paths, read anew each time, since they may be more than fit into memory; and how many files
    there are. CnnccError for a file that is named and cannot be read, and if that is so for all of a folder."""
    from cnncc.base.errors import CnnccError
    from cnncc.calibrate.observe import Arrays, Images
    from cnncc.module import describe
    from cnncc.runtime.arrays import Port

    run_files.check_there(paths)
    ports = [run_files.InputPort(about, Port.described(about), False) for about in describe.inputs(graph)]
    sources = run_files.find(paths, len(ports))
    count = sum(len(portion.names) for portion in run_files.portions(sources, ports, 1, failed.tell))
    if not count:
        raise CnnccError("none of the files can be read as an image of the network")
    known = {str(error) for error in failed.errors}

    def again(error: CnnccError) -> None:
        """A file that could be read before should not be missed in silence."""
        if str(error) not in known:
            raise error

    def read() -> Iterator[Arrays]:
        for portion in run_files.portions(sources, ports, 1, again):
            for i in range(len(portion.names)):
                yield [array[i : i + 1] for array in portion.arrays]

    return Images(count, read), len(sources)


def _show(found: Calibrated, args: argparse.Namespace) -> None:
    told = found.to_json()
    rows = told["values"] if args.all else sorted(told["values"], key=lambda row: row["decibels"])[:SHOWN]
    columns = ("value", "op", "range", "scale", "zero", "clipped", "dB")
    screen.print_table(columns, [_row(row) for row in rows], left=2, drop=("zero", "op", "scale"))
    if len(rows) < len(told["values"]):
        print(f"the {len(rows)} of {len(told['values'])} values that are furthest from float32; --all prints every one")
    for gain in told["gains"]:
        if gain["decibels"] > 0:
            screen.print_field("to gain", f"{gain['decibels']:.1f} dB with --keep {gain['layer']}")
    _show_float(told["float32"])
    for output in told["outputs"]:
        same = f"the largest element is the same in {output['agreement']:.1%} of {told['images']} images"
        screen.print_field("outputs", f"{output['name']}: {output['decibels']:.1f} dB, {same}")
    screen.print_field("written", f"{args.output}: cnncc compile {args.net} --weights {args.output}")
    if args.html:
        screen.print_field("page", args.html)


def _show_float(left: list[dict[str, str]]) -> None:
    if left:
        names = ", ".join(f"{node['name']} ({node['op']})" for node in left[:LISTED])
        more = f" and {len(left) - LISTED} more, in --json" if len(left) > LISTED else ""
        screen.print_field("float32", f"{names}{more}")


def _row(row: dict[str, object]) -> tuple[str, ...]:
    return (
        str(row["name"]),
        str(row["op"]),
        f"{row['low']:.4g} .. {row['high']:.4g}",
        f"{row['scale']:.4g}",
        str(row["zero"]),
        f"{row['clipped']:.2%}",
        f"{row['decibels']:.1f}",
    )


COMMAND = command.Command(
    name="quantize",
    help="find by which scales the values of a network become bytes (int8), from images of it",
    examples="""
        cnncc quantize efficientnet_lite0 --calibrate photos/ -o lite0.int8.safetensors
        cnncc quantize models/lenet5.net --calibrate digits.npy --range mse --html ranges.html -o q.safetensors
        cnncc quantize my.onnx --calibrate photos/ --range percentile 99.99 --keep conv1,fc -o q.safetensors
        cnncc compile efficientnet_lite0 --weights lite0.int8.safetensors
    """,
    configure=_configure,
    run=_run,
)
