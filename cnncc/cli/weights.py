"""`cnncc weights`: the weights a network wants, and a file of initial ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.cli import command, screen

if TYPE_CHECKING:
    import argparse

    from cnncc.ir import Graph


def _configure(parser: argparse.ArgumentParser) -> None:
    command.add_net(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write the weights here as safetensors")
    command.add_weight_options(parser)
    parser.add_argument(
        "--from", dest="checkpoint", metavar="FILE", help="a checkpoint to convert: .safetensors, .pth or .npz"
    )
    what = (
        "what its tensors are called: as in NET; as in torchvision's model of the same network; or anything, in the "
        "order of NET's layers (default: names)"
    )
    parser.add_argument("--map", choices=("names", "torchvision", "order"), default="names", help=what)
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import weights

    if args.output:
        command.check_outputs(args, {"the weights": Path(args.output)}, {"the checkpoint": args.checkpoint})
    graph, origin = _from_checkpoint(args) if args.checkpoint else command.read_bound(args)
    if args.output:
        with screen.progress(f"writing {args.output}"):
            weights.save(graph, args.output, args.seed if command.is_random(origin) else None)
    tensors = [{"name": name, "shape": list(constant.shape)} for name, constant in graph.constants.items()]
    result = {"name": graph.name, "weights": origin, "file": args.output, "tensors": tensors}
    if args.json:
        command.print_json(result)
    elif not (args.output and args.quiet):
        _show(result)
    return command.EXIT_OK


def _from_checkpoint(args: argparse.Namespace) -> tuple[Graph, str]:
    """The network with the weights of another file, under whatever names it has them."""
    from cnncc.base.errors import CnnccError
    from cnncc.weights import checkpoint

    if args.weights:
        raise CnnccError("--from and --weights both say where the weights come from", hint="give one of them")
    return checkpoint.bind(command.read_net(args.net), args.checkpoint, args.map), args.checkpoint


def _show(result: dict[str, Any]) -> None:
    tensors = result["tensors"]
    if result["file"]:
        print(f"{result['file']}  {len(tensors)} tensors of {result['name']} ({result['weights']})")
        return
    rows = [(tensor["name"], "x".join(map(str, tensor["shape"]))) for tensor in tensors]
    screen.print_table(("tensor", "shape"), rows)


COMMAND = command.Command(
    name="weights",
    help="list the weights a network wants, or write its initial ones to a safetensors file",
    examples="""
        cnncc weights models/resnet18.net
        cnncc weights models/resnet18.net -o initial.safetensors --seed 7
        cnncc compile models/resnet18.net --weights initial.safetensors
        cnncc weights resnet50_v1_5 --from resnet50-0676ba61.pth --map torchvision -o resnet50.safetensors
    """,
    configure=_configure,
    run=_run,
)
