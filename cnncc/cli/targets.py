"""`cnncc targets`: the processors and GPUs cnncc compiles for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnncc.cli import command, screen

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="show only these, with every CPU feature")
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import machines

    found = [_plain(machines.load(name)) for name in args.names or machines.names()]
    if args.json:
        command.print_json(found)
    elif args.names:
        for target in found:
            _show_one(target)
    else:
        _show_all(found)
    return command.EXIT_OK


def _plain(target: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(target)


def _show_all(found: list[dict[str, Any]]) -> None:
    keys = ("name", "cpu", "isa", "vector_bits")
    processors, gpus = ([t for t in found if ("device" in t) == is_gpu] for is_gpu in (False, True))
    rows = [[*(str(t[key]) for key in keys), *_cores(t), screen.short_size(t["l2_bytes"])] for t in processors]
    titles = ("target", "cpu", "isa", "vector bits", "registers", "cores", "L2")
    screen.print_table(titles, rows, left=3, drop=("L2", "cores", "registers", "vector bits", "isa"))
    print()
    heads = ("GPU", "code for", "kernels chosen for", "multiprocessors", "GB/s", "L2")
    rows = [[t["name"], *_gpu(t), screen.short_size(t["l2_bytes"])] for t in gpus]
    screen.print_table(heads, rows, left=3, drop=("L2", "GB/s", "multiprocessors"))
    print("all of one: cnncc targets NAME; use it: cnncc compile NET --target NAME")


def _cores(target: dict[str, Any]) -> tuple[str, str]:
    """The registers of the first unit, and how many cores."""
    return str(target["units"][0]["registers"]), str(target["cores"])


def _gpu(target: dict[str, Any]) -> tuple[str, ...]:
    bandwidth = f"{target['memory_gbytes_per_second']:.0f}"
    return " ".join((*target["cubins"], "PTX")), target["device"], str(target["multiprocessors"]), bandwidth


def _show_one(target: dict[str, Any]) -> None:
    for key, value in target.items():
        if key == "units":
            for unit in value:
                screen.print_field("unit", ", ".join(f"{name} {what}" for name, what in unit.items()))
        else:
            screen.print_field(key, ", ".join(value) if isinstance(value, tuple) else str(value))


COMMAND = command.Command(
    name="targets",
    help="list the CPUs and GPUs cnncc compiles for, this machine first",
    examples="""
        cnncc targets
        cnncc targets host
        cnncc targets --json
    """,
    configure=_configure,
    run=_run,
)
