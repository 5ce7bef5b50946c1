"""`cnncc expand`: the network with blocks and repeats written out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cnncc.cli import command

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    command.add_net(parser)
    parser.add_argument("--no-shapes", action="store_true", help="leave out the comment with each result's shape")


def _run(args: argparse.Namespace) -> int:
    from cnncc import lang

    text = lang.print_net(command.read_net(args.net), shapes=not args.no_shapes)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    return command.EXIT_OK


COMMAND = command.Command(
    name="expand",
    help="print a network flat, blocks and repeats written out, with the shape of every result",
    examples="""
        cnncc expand models/resnet18.net
        cnncc expand resnet18 | cnncc summary -
    """,
    configure=_configure,
    run=_run,
)
