"""The command line. Each command is a file here; what they need is imported when they run, so `--help` is quick."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from cnncc import __version__
from cnncc.base import extras
from cnncc.base.errors import CnnccError, reason
from cnncc.cli import (
    bench,
    check,
    compile,
    completion,
    expand,
    export,
    fmt,
    help,
    import_,
    info,
    interrupt,
    memory,
    notices,
    profile,
    quantize,
    run,
    summary,
    targets,
    usage,
    weights,
)
from cnncc.cli.command import EXIT_BAD_INPUT, EXIT_BROKEN_PIPE, EXIT_OK, Command, add_quiet

COMMANDS: tuple[Command, ...] = (
    compile.COMMAND,
    run.COMMAND,
    summary.COMMAND,
    check.COMMAND,
    quantize.COMMAND,
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
"""Those that do something with networks."""
HELPERS: tuple[Command, ...] = (help.COMMAND, completion.COMMAND)

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
`cnncc help COMMAND` tells more of one; `cnncc completion bash` (or zsh, fish) makes the Tab key know them.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Bad input is one message on standard error, never a traceback."""
    _open_streams()
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
        return interrupt.tell()


def _open_streams() -> None:
    """Standard streams that the caller has closed (`>&-`) lead nowhere: Python has None for them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r"))


def _run(argv: Sequence[str] | None) -> int:
    """Everything is written when this ends, help and usage (by SystemExit), too."""
    try:
        args = _parsed(argv)
        with interrupt.watched(), notices.listening(args.quiet):
            code: int = args.run(args)
    finally:
        sys.stdout.flush()
    return code


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments. An empty one is most likely a variable of the shell that was never set."""
    top = parser()
    given = sys.argv[1:] if argv is None else list(argv)
    if not given:
        top.print_help(sys.stderr)
        top.exit(EXIT_BAD_INPUT)
    args = top.parse_args(given)
    for name, value in vars(args).items():
        if value == "" or (isinstance(value, list) and "" in value):
            args.parser.error(f"argument {name}: is empty")
    return args


def parser() -> usage.Parser:
    """The parser of the whole command line. Commands find it in their arguments, as `root`."""
    top = usage.Parser(
        prog="cnncc",
        usage="cnncc COMMAND [ARGUMENTS]",
        description="Compile the text of a convolutional network to one self-contained native module.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("-V", "--version", action="version", version=f"cnncc {__version__}")
    add_quiet(top)
    top.set_defaults(quiet=False, root=top)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", prog="cnncc", required=True)
    for command in (*COMMANDS, *HELPERS):
        command.register(commands)
    return top


def _fail(text: str) -> int:
    print(f"cnncc: {text}", file=sys.stderr)
    return EXIT_BAD_INPUT


__all__ = ["COMMANDS", "EXIT_BAD_INPUT", "EXIT_OK", "main", "parser"]
