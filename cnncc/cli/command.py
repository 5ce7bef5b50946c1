"""What the commands share: their shape, common options, the network named on the command line, JSON output."""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.cli import changes, notices, usage
from cnncc.options import DTYPES, INT8, WEIGHTS_DTYPES, Options, split_targets
from cnncc.runtime.cpu import MOST_THREADS

if TYPE_CHECKING:
    from cnncc.base.input_shapes import InputShapes
    from cnncc.frontends.sources import NetworkSource
    from cnncc.ir import Graph
    from cnncc.runtime.model import Model

BUILT_WITH = ("batch", "threads", "max_error", "weights_dtype", "dtype", "tune")
"""Fields of `cnncc.options.Options` that are options here too, besides the target."""

DEFAULTS = {
    "target": ",".join(Options().targets),
    **{name: getattr(Options(), name) for name in BUILT_WITH},
    "weights": None,
    "seed": 0,
    "name": None,
    "shape": None,
}
"""Of the options that say what a network is, how it is compiled, and with what weights."""

RANDOM = "random"
"""How `read_bound` calls weights from no file."""

EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_BROKEN_PIPE = 141


@dataclass(frozen=True)
class Command:
    """One command: `configure` adds its arguments, `run` does it and returns the exit code."""

    name: str
    help: str
    examples: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    exits: str = "0 done; 2 bad input or usage"
    notes: Callable[[], str] | None = None
    """What its help says at the end besides, made when somebody asks for help."""

    def register(self, commands: Any) -> None:
        """Add the parser of this command to argparse's sub-parsers."""
        examples = textwrap.indent(textwrap.dedent(self.examples).strip(), "  ")
        parser = commands.add_parser(
            self.name,
            help=self.help,
            description=self.help[0].upper() + self.help[1:] + ".",
            epilog=f"examples:\n{examples}\n\nexit codes: {self.exits}; 130 interrupted",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.notes = self.notes
        self.configure(parser)
        add_quiet(parser)
        parser.usage = usage.line(parser, f"cnncc {self.name}")
        parser.set_defaults(run=self.run, parser=parser)


def add_net(parser: argparse.ArgumentParser) -> None:
    """The positional NET."""
    parser.add_argument(
        "net", metavar="NET", help="a .net file, - for standard input, a network of the zoo by name, or an ONNX model"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`: the result as one JSON document on standard output."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """`-q`, which may stand in front of the command's name too."""
    what = "errors only: no warnings, progress or summary of what was written"
    parser.add_argument("-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help=what)


def add_build_options(parser: argparse.ArgumentParser, batch: bool = True) -> None:
    """What a compilation depends on besides the network; without `batch`, of a command that runs one image at a
    time."""
    what = f"CPU to compile for; see `cnncc targets` (default: {DEFAULTS['target']})"
    parser.add_argument("--target", default=DEFAULTS["target"], metavar="NAME", help=what)
    if batch:
        what = f"most images per run (default: {DEFAULTS['batch']})"
        parser.add_argument("--batch", type=positive, default=DEFAULTS["batch"], metavar="N", help=what)
    what = f"threads per run, {MOST_THREADS} at most (default: the target's cores)"
    parser.add_argument("--threads", type=thread_count, metavar="N", help=what)
    what = (
        "error allowed to faster algorithms (Winograd), as a share of a layer's largest output; 0: none of them "
        f"(default: {DEFAULTS['max_error']:.0e})".replace("e-0", "e-")
    )
    parser.add_argument("--max-error", type=error_bound, default=DEFAULTS["max_error"], metavar="E", help=what)


def add_weight_options(parser: argparse.ArgumentParser) -> None:
    """Where the weights come from."""
    what = "safetensors, .pth, .npz, or an .onnx of the same network (default: the file beside NET, else random)"
    parser.add_argument("--weights", metavar="FILE", help=what)
    what = "seed of what is random (default: 0)"
    parser.add_argument("--seed", type=whole, default=DEFAULTS["seed"], metavar="N", help=what)


def add_scales(parser: argparse.ArgumentParser) -> None:
    """`--weights` of commands that look at a network's shapes only."""
    what = "a file that `cnncc quantize` wrote: the network as it is computed on bytes"
    parser.add_argument("--weights", metavar="FILE", help=what)


def add_weights_dtype(parser: argparse.ArgumentParser) -> None:
    """How the module stores its weights."""
    what = (
        "how the module stores the weights of convolutions and fc layers: rounded to float16 or bfloat16, half the "
        f"bytes; arithmetic stays float32, and Winograd is left out (default: {DEFAULTS['weights_dtype']})"
    )
    parser.add_argument("--weights-dtype", choices=WEIGHTS_DTYPES, default=DEFAULTS["weights_dtype"], help=what)
    add_dtype(parser, (*DTYPES, INT8))


def add_dtype(parser: argparse.ArgumentParser, choices: Sequence[str]) -> None:
    """In what a network is computed."""
    tensor = "all but float32 and int8 multiply on a GPU's tensor cores; float16 and "
    what = (
        f"of the operands of convolutions: {tensor if 'float16' in choices else ''}"
        "bfloat16, where it is multiplied, store values and weights so; sums stay float32; "
        "int8: on bytes, by the scales that `cnncc quantize` found, or for its speed alone by those of random images "
        f"(default: {DEFAULTS['dtype']})"
    )
    parser.add_argument("--dtype", choices=choices, default=DEFAULTS["dtype"], help=what)


def add_tune(parser: argparse.ArgumentParser) -> None:
    """Whether kernels are measured."""
    what = "measure convolution kernels on this machine for so long and take the fastest; results are kept for all nets"
    parser.add_argument("--tune", type=seconds, default=DEFAULTS["tune"], metavar="SECONDS", help=what)


def seconds(text: str) -> float:
    """An argparse type: a finite number above 0."""
    number = real(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number


def positive(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def thread_count(text: str) -> int:
    """An argparse type: an integer of 1 to `MOST_THREADS`."""
    number = positive(text)
    if number > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"expected {MOST_THREADS} at most, got {text}")
    return number


def error_bound(text: str) -> float:
    """An argparse type: a finite number that is not negative."""
    number = real(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return number


def real(text: str) -> float:
    """The number that a text is, NaN for others."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def whole(text: str) -> int:
    """An argparse type: an integer."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def hold_defaults(parser: argparse.ArgumentParser) -> None:
    """For commands that take a network or a compiled module: an option that is not given shows as None, so that
    `load_module` can refuse the others; `fill_defaults` fills them in."""
    parser.set_defaults(**dict.fromkeys(DEFAULTS))


def fill_defaults(args: argparse.Namespace) -> None:
    """The defaults that `hold_defaults` held back."""
    vars(args).update({name: value for name, value in DEFAULTS.items() if getattr(args, name) is None})


def load_module(args: argparse.Namespace) -> Model:
    """The compiled module NET; what it was compiled with cannot be changed any more, but it may use fewer threads."""
    from cnncc import api
    from cnncc.base.errors import CnnccError

    model = api.load(args.net, threads=args.threads)
    taken = ("threads", "shape") if len(model.sizes) > 1 or model.ranges else ("threads",)
    given = [name for name in DEFAULTS if name not in taken and getattr(args, name) is not None]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        hint = "give them to `cnncc compile`, or name the network itself"
        raise CnnccError(
            f"{args.net} is a compiled module and takes no {options}: such options are for a network", hint=hint
        )
    return _at_size(model, args) if args.shape else model


def _at_size(model: Model, args: argparse.Namespace) -> Model:
    """The model of a module for several sizes, or for a range, at that of `--shape`. CnnccError if it has none."""
    from cnncc.base.errors import CnnccError

    wanted, only = changes.shapes(args), len(model.inputs) == 1
    if model.ranges:
        return model.at_size(**_sizes_of(model, wanted, args))
    for number, size in enumerate(model.sizes):
        dims = {"" if only and "" in wanted else port.name: port.shape[1:] for port in size.inputs}
        if {**dims, **wanted} == dims:
            return model.at_size(number)
    known = "; ".join(changes.said({"" if only else p.name: p.shape[1:] for p in size.inputs}) for size in model.sizes)
    raise CnnccError(f"--shape: {args.net} has no such size", hint=f"it has {known}")


def _sizes_of(model: Model, wanted: Mapping[str, Sequence[Any]], args: argparse.Namespace) -> dict[str, int]:
    """The sizes by name that inputs of these shapes have. CnnccError for shapes that the module does not take."""
    from cnncc.base.errors import CnnccError

    ports = {"" if "" in wanted and len(model.inputs) == 1 else port.name: port for port in model.inputs}
    found: dict[str, int] = {}
    for name, shape in wanted.items():
        known = ports[name].shape[1:] if name in ports else ()
        pairs = list(zip(known, shape, strict=False))
        told = {str(own): given for own, given in pairs if not isinstance(own, int)}
        for size, given in told.items():
            if found.setdefault(size, given) != given:
                hint = "inputs that share a size have it alike"
                raise CnnccError(f"--shape: {size} is {found[size]} and {given}", hint=hint)
        wanted_here = [own if isinstance(own, int) else found[str(own)] for own in known[: len(shape)]]
        if len(known) != len(shape) or wanted_here != list(shape):
            takes = "; ".join(f"{'' if of == '' else f'{of}='}{port.shapes}" for of, port in ports.items())
            ranges = ", ".join(map(str, model.ranges))
            raise CnnccError(f"--shape: {args.net} has no such size", hint=f"it has {takes} where {ranges}")
    return found


def read_net(args: argparse.Namespace) -> Graph:
    """The source graph of NET."""
    from cnncc.frontends import sources

    return sources.read(args.net, changes.shapes(args), changes.name(args))


def read_shown(args: argparse.Namespace) -> Graph:
    """The source graph of NET, on bytes if `--weights` has scales. CnnccError for a file without them."""
    from cnncc.base.errors import CnnccError
    from cnncc.frontends import sources

    if args.weights is None:
        return read_net(args)
    found = sources.read_source(args.net, args.weights, 0, changes.shapes(args), changes.name(args))
    if found.scheme is None:
        hint = "this command looks at weights for the scales beside them only; leave --weights out"
        raise CnnccError(f"{args.weights} has no scales beside the weights", hint=hint)
    return found.graph


def read_bound(args: argparse.Namespace) -> tuple[Graph, str]:
    """The source graph of NET with weights, and where these come from, for people."""
    found = read_source(args)
    return found.graph, origin_of(found, args)


def origin_of(network: NetworkSource, args: argparse.Namespace) -> str:
    """Where the weights of a network come from, for people."""
    return network.weights or f"{RANDOM}, seed {args.seed}"


def read_source(args: argparse.Namespace) -> NetworkSource:
    """NET with weights."""
    from cnncc.frontends import sources

    found = sources.read_source(args.net, args.weights, args.seed, changes.shapes(args), changes.name(args))
    dtype = getattr(args, "dtype", None)
    if dtype == INT8:
        found = _on_bytes(found, args)
    elif found.scheme is not None and dtype not in (None, DEFAULTS["dtype"]):
        from cnncc.base.errors import CnnccError

        hint = "leave --dtype out, or name the weights in float32"
        raise CnnccError(
            f"--dtype {dtype}: by the scales in {found.weights} the network is computed on bytes", hint=hint
        )
    return found


def read_sizes(args: argparse.Namespace) -> list[NetworkSource]:
    """NET with weights, for each size of `--shape`."""
    from cnncc.frontends import sources

    sizes = changes.sizes(args)
    networks = [_read_size(args, size, len(sizes) > 1) for size in sizes]
    if len(sizes) > 1 and getattr(args, "dtype", None) == INT8 and _has_drawn_scales(networks[0]):
        from cnncc.base.errors import CnnccError

        hint = "cnncc quantize finds scales for all sizes; --weights takes its file"
        raise CnnccError("--dtype int8 without scales takes one size: each would have others", hint=hint)
    return networks if sources.is_foreign(args.net) else sources.with_first_weights(networks)


def _has_drawn_scales(network: NetworkSource) -> bool:
    from cnncc.calibrate.random_ranges import RANDOM as DRAWN

    return network.scheme is not None and network.scheme.about.get("method") == DRAWN


def _read_size(args: argparse.Namespace, size: InputShapes, several: bool) -> NetworkSource:
    """NET at one of the sizes of `--shape`; of several, an error says which."""
    from cnncc.base.errors import CnnccError

    try:
        return read_source(argparse.Namespace(**{**vars(args), "shape": [(name, [of]) for name, of in size.items()]}))
    except CnnccError as error:
        if several:
            error.message += f" (at --shape {changes.said(size)})"
        raise


def _on_bytes(network: NetworkSource, args: argparse.Namespace) -> NetworkSource:
    """NET for `--dtype int8`. Ranges are looked for with what runs here, whatever the target."""
    from cnncc.calibrate.random_ranges import with_random_ranges
    from cnncc.cli import screen
    from cnncc.module.listener import Listener

    with screen.progress(f"ranges of {network.graph.name}") as report:
        return with_random_ranges(network, Options(threads=args.threads), Listener(report))


def is_random(origin: str) -> bool:
    """Whether weights that `read_bound` says come from `origin` come from no file."""
    return origin.startswith(f"{RANDOM}, ")


def warn_of_random(graph: Graph, origin: str) -> None:
    """A warning if the graph has weights and they come from no file."""
    from cnncc.base.errors import warn

    if is_random(origin) and graph.constants:
        warn(f"no weights for {graph.name}: using {origin}; give --weights FILE")


def named_origin(origin: str) -> str:
    """Where weights come from, for a module to say: nothing of folders, which differ from machine to machine."""
    return f"{RANDOM} ({origin.removeprefix(f'{RANDOM}, ')})" if is_random(origin) else Path(origin).name


def check_outputs(
    args: argparse.Namespace, outputs: Mapping[str, Path], inputs: Mapping[str, str | None] | None = None
) -> None:
    """CnnccError if one of the files to write is the network, its weights or another of `inputs`, or cannot be
    written at all: said before the work, not after it. The keys of both say what a file is."""
    from cnncc.base.files import check_outputs
    from cnncc.frontends.locate import find_net, find_weights

    net = find_net(args.net)
    given = {"the network": None if net == "-" else net, "the weights file": find_weights(args.net, args.weights)}
    check_outputs(outputs, {role: file for role, file in {**given, **(inputs or {})}.items() if file is not None})


def options(args: argparse.Namespace) -> Options:
    """What the command line says of how to compile; the defaults of what the command does not take."""
    given = {name: getattr(args, name) for name in BUILT_WITH if hasattr(args, name)}
    if given.get("dtype") == INT8:
        del given["dtype"]
    return Options(split_targets(args.target), **given)


def check_one_target(args: argparse.Namespace) -> None:
    """CnnccError where several targets are named, for commands that look at one machine."""
    from cnncc.base.errors import CnnccError

    if len(split_targets(args.target)) > 1:
        raise CnnccError(f"this command takes one target, got {args.target}")


def write_page(file: str, text: str) -> None:
    """A page or picture, whole or not at all; CnnccError if it cannot be written."""
    from cnncc.base.errors import CnnccError
    from cnncc.base.files import write_whole

    try:
        write_whole(Path(file), text)
    except OSError as error:
        raise CnnccError(f"cannot write {file}: {error.strerror}") from error


def print_json(result: Any) -> None:
    """One JSON document on standard output; an object tells of the warnings too, if there were any."""
    told = notices.current().to_json()
    if told and isinstance(result, dict):
        result = {**result, "warnings": told}
    print(json.dumps(result, indent=2))
