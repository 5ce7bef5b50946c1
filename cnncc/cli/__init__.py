"""The command line. Each command is a file here; what they need is imported when they run, so `--help` is quick."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cnncc import __version__, extras
from cnncc.cli import (
    bench,
    check,
    compile,
    expand,
    export,
    fmt,
    import_,
    info,
    memory,
    profile,
    run,
    summary,
    targets,
    weights,
)
from cnncc.cli.command import EXIT_BAD_INPUT, EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_OK, Command
from cnncc.errors import CnnccError, reason

COMMANDS: tuple[Command, ...] = (
    compile.COMMAND,
    run.COMMAND,
    summary.COMMAND,
    check.COMMAND,
    memory.COMMAND,
    profile.COMMAND,
    bench.COMMAND,
    fmt.COMMAND,
    expand.COMMAND,
    import_.COMMAND,
    export.COMMAND,
    info.COMMAND,
    targets.COMMAND,
    weights.COMMAND,
)

EXAMPLES = """\
examples:
  cnncc summary resnet50                      figures of a network, layer by layer
  cnncc compile resnet50 -o resnet50.so       one module and its C header, weights inside
  cnncc run models/lenet5.net digit.png       classify an image
  cnncc check models/lenet5.net               compare the compiled module with the NumPy reference
  cnncc profile resnet50 --top 10             where the time goes, and what bounds it

NET is a file with the text of a network, - for standard input, a network that comes with cnncc (resnet50), or an
ONNX model.
exit codes: 0 done; 1 the result of a check is no; 2 bad input or usage; 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Bad input is one message on standard error, never a traceback."""
    try:
        return _run(argv)
    except CnnccError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        explained = extras.explain(error)
        if explained is None:
            raise
        return _fail(str(explained))
    except BrokenPipeError:
        # The reader has gone (`| head`); without this Python complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except OSError as error:
        return _fail(f"{error.filename or 'input or output'}: {reason(error)}")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    """Everything is written when this ends, help and usage (by SystemExit), too."""
    try:
        args = _parsed(argv)
        code: int = args.run(args)
    finally:
        sys.stdout.flush()
    return code


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments. An empty one is most likely a variable of the shell that was never set."""
    top = parser()
    args = top.parse_args(argv)
    for name, value in vars(args).items():
        if value == "":
            top.error(f"argument {name}: is empty")
    return args


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="cnncc",
        description="Compile the text of a convolutional network to one self-contained native module.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"cnncc {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(commands)
    return top


def _fail(text: str) -> int:
    print(f"cnncc: {text}", file=sys.stderr)
    return EXIT_BAD_INPUT


__all__ = ["COMMANDS", "EXIT_BAD_INPUT", "EXIT_OK", "main", "parser"]
