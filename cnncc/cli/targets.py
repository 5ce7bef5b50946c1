"""`cnncc targets`: the machines cnncc compiles for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnncc.cli import command, screen

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="show only these, with every CPU feature")
    command.add_json(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc import targets

    found = [_plain(targets.load(name)) for name in args.names or targets.names()]
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
    rows = screen.table("target", "cpu", "isa", "vector\nbits", "registers", "cores", "L2", left=3)
    for t in found:
        numbers = [str(t[key]) for key in ("vector_bits", "registers", "cores")]
        rows.add_row(t["name"], t["cpu"], t["isa"], *numbers, screen.size(t["l2_bytes"]))
    screen.console().print(rows)
    print("all of one: cnncc targets NAME; use it: cnncc compile NET --target NAME")


def _show_one(target: dict[str, Any]) -> None:
    for key, value in target.items():
        print(f"{key:<12} {', '.join(value) if isinstance(value, tuple) else value}")


COMMAND = command.Command(
    name="targets",
    help="list the CPUs cnncc compiles for, this machine first",
    examples="""
        cnncc targets
        cnncc targets host
        cnncc targets --json
    """,
    configure=_configure,
    run=_run,
)
