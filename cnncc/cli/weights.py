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
    what = "a checkpoint to convert, .safetensors, .pth or .npz; or a model of the same network, as .onnx"
    parser.add_argument("--from", dest="checkpoint", metavar="FILE", help=what)
    what = (
        "what its tensors are called: as in NET; as in torchvision's model of the same network; or anything, in the "
        "order of NET's layers (default: names)"
    )
    parser.add_argument("--map", choices=("names", "torchvision", "order"), help=what)
    what = "what was added to the variance in batch norms that NET has inside other layers (default: 1e-5)"
    parser.add_argument("--eps", type=command.error_bound, metavar="E", help=what)
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import weights

    if args.output:
        _check_output(args)
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


OTHER_ENDINGS = frozenset({".npz", ".npy", ".onnx", ".pth", ".pt"})
"""Of files that hold something else."""


def _check_output(args: argparse.Namespace) -> None:
    """The file beside NET is what is read, unless the weights come from another one."""
    from cnncc.base import files
    from cnncc.frontends.locate import find_net

    if Path(args.output).suffix in OTHER_ENDINGS:
        from cnncc.base.errors import CnnccError

        hint = f"e.g. -o {Path(args.output).with_suffix('.safetensors')}"
        raise CnnccError(f"{args.output}: weights are written as safetensors, whatever the name says", hint=hint)
    written = {"the weights": Path(args.output)}
    if args.checkpoint is None:
        command.check_outputs(args, written)
        return
    net = {} if args.net == "-" else {"the network": find_net(args.net)}
    files.check_outputs(written, {**net, "the checkpoint": args.checkpoint})


def _from_checkpoint(args: argparse.Namespace) -> tuple[Graph, str]:
    """The network with the weights of another file, under whatever names it has them."""
    from cnncc.base.errors import CnnccError
    from cnncc.frontends import sources
    from cnncc.weights import checkpoint
    from cnncc.weights.folded_norms import EPS

    if args.weights:
        raise CnnccError("--from and --weights both say where the weights come from", hint="give one of them")
    graph = command.read_net(args)
    if not sources.is_foreign(args.checkpoint):
        names, eps = args.map or "names", EPS if args.eps is None else args.eps
        return checkpoint.bind(graph, args.checkpoint, names, eps), args.checkpoint
    for option in ("map", "eps"):
        if getattr(args, option) is not None:
            raise CnnccError(f"--{option} is for checkpoints: {args.checkpoint} says itself what its layers are")
    return sources.bind_model(graph, args.checkpoint), args.checkpoint


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
        cnncc weights my.net --from retrained.onnx -o my.safetensors
    """,
    configure=_configure,
    run=_run,
)
