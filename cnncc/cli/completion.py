"""`cnncc completion`: the script that makes a shell complete commands, options, networks of the zoo and targets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cnncc.cli import command

if TYPE_CHECKING:
    import argparse

SHELLS = ("bash", "zsh", "fish")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"one of {', '.join(SHELLS)}")


def _run(args: argparse.Namespace) -> int:
    from cnncc.cli import completion_scripts

    sys.stdout.write(completion_scripts.script(args.shell, args.root))
    return command.EXIT_OK


COMMAND = command.Command(
    name="completion",
    help="print the script that makes a shell complete commands, options, networks and targets",
    examples="""
        cnncc completion bash > ~/.local/share/bash-completion/completions/cnncc
        cnncc completion zsh > ~/.zfunc/_cnncc         with fpath+=~/.zfunc before compinit in ~/.zshrc
        cnncc completion fish > ~/.config/fish/completions/cnncc.fish
    """,
    configure=_configure,
    run=_run,
)
