"""`cnncc help`: what `--help` prints, of the whole or of one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncc.cli import command

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", metavar="COMMAND", nargs="?", help="print the help of this command")


def _run(args: argparse.Namespace) -> int:
    args.root.parse_args([args.topic, "--help"] if args.topic else ["--help"])
    return command.EXIT_OK


COMMAND = command.Command(
    name="help",
    help="print this help, or that of one command",
    examples="""
        cnncc help
        cnncc help compile
    """,
    configure=_configure,
    run=_run,
)
