"""Wrong usage: the usage line of the command, what is wrong, and the nearest right word. Never a list of all."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from cnncc.base.errors import CnnccError, nearest_one

EXIT_USAGE = 2
ELSEWHERE = {
    **dict.fromkeys(("build", "make", "compiler"), "compile"),
    **dict.fromkeys(("predict", "infer", "classify", "eval", "exec", "execute"), "run"),
    **dict.fromkeys(("test", "verify", "validate", "compare"), "check"),
    **dict.fromkeys(("time", "benchmark", "speed"), "bench"),
    **dict.fromkeys(("format", "lint", "pretty"), "fmt"),
    **dict.fromkeys(("convert", "onnx"), "import"),
    **dict.fromkeys(("show", "inspect", "describe"), "info"),
    **dict.fromkeys(("layers", "stats", "print"), "summary"),
    **dict.fromkeys(("flatten", "flat"), "expand"),
    **dict.fromkeys(("version", "-v", "-version"), "--version"),
}
"""What other tools call our commands."""
OPTIONS_ELSEWHERE = {
    **dict.fromkeys(("-t", "--arch", "--device", "--march", "--cpu", "--gpu", "--cuda"), "--target"),
    **dict.fromkeys(("-w", "--checkpoint", "--state-dict", "--pretrained", "--ckpt"), "--weights"),
    **dict.fromkeys(("-j", "--jobs", "--num-threads", "--workers"), "--threads"),
    **dict.fromkeys(("-b", "--batch-size"), "--batch"),
    **dict.fromkeys(("--fp16", "--half", "--precision"), "--weights-dtype"),
    **dict.fromkeys(("--silent", "--no-progress", "-s"), "--quiet"),
    **dict.fromkeys(("-k", "--topk", "--top-k"), "--top"),
    **dict.fromkeys(("--classes", "--names"), "--labels"),
    **dict.fromkeys(("--input-shape", "--input-shapes"), "--shape"),
    **dict.fromkeys(("--format", "--type"), "--emit"),
}
"""What other tools call our options; only said where the command has ours."""
NETWORKS = (".net", ".onnx", ".so")


class Parser(argparse.ArgumentParser):
    """argparse with our messages; its sub-parsers report what they do not know themselves."""

    notes: Callable[[], str] | None = None
    """The end of the help, where making it takes longer than a command that needs no help should."""

    def format_help(self) -> str:
        text = super().format_help()
        return text if self.notes is None else f"{text}\n{textwrap.fill(self.notes(), 100)}\n"

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, rest = super().parse_known_args(args, namespace)
        left = self._take_files(known, rest)
        if left:
            self._refuse(left)
        return known, []

    def error(self, message: str) -> NoReturn:
        """One message, without a hint of its own."""
        self.fail(message, "")

    def fail(self, message: str, hint: str) -> NoReturn:
        """Print the usage line and the message, exit with 2."""
        text = CnnccError(message, hint=hint or f"`{self.prog} --help` tells more")
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {text}\n")

    def positionals(self) -> list[argparse.Action]:
        """The arguments that are no options, in order."""
        return [action for action in self._actions if not action.option_strings]

    def options(self) -> list[argparse.Action]:
        """The options, in the order they were added."""
        return [action for action in self._actions if action.option_strings]

    def commands(self) -> list[Parser]:
        """The parsers of the commands; none of a command itself."""
        found = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return [parser for action in found for parser in action.choices.values()]

    def choices_of(self, action: argparse.Action) -> Sequence[str]:
        return [str(choice) for choice in action.choices or ()]

    def _take_files(self, known: argparse.Namespace, rest: list[str]) -> list[str]:
        """argparse reads a run of files only up to the next option; those after it belong to the same run."""
        last = self.positionals()[-1:]
        if not rest or not last or last[0].nargs not in ("+", "*") or any(text.startswith("-") for text in rest):
            return rest
        getattr(known, last[0].dest).extend(rest)
        return []

    def _refuse(self, rest: list[str]) -> NoReturn:
        option = next((text for text in rest if text.startswith("-") and text != "-"), None)
        if option is None:
            self.fail(f"unexpected argument {rest[0]!r}", "")
        name = option.partition("=")[0]
        known = [string for action in self.options() for string in action.option_strings]
        other = OPTIONS_ELSEWHERE.get(name, "")
        hint = f"did you mean {other}?" if other in known else nearest_one(name, known)
        if any(name in action.option_strings for command in self.commands() for action in command.options()):
            hint = f"options of a command follow its name: cnncc COMMAND {name}"
        self.fail(f"unknown option {name}", hint)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if isinstance(action, argparse._SubParsersAction):
            self.fail(f"unknown command {value!r}", command_hint(str(value), self.choices_of(action)))
        choices = self.choices_of(action)
        hint = nearest_one(str(value), choices)
        name = argparse.ArgumentError(action, "").argument_name
        self.fail(f"argument {name}: unknown value {value!r}: expected {', '.join(choices)}", hint)


def command_hint(word: str, commands: Sequence[str]) -> str:
    """For a word that is no command."""
    if word in ELSEWHERE:
        return f"did you mean {ELSEWHERE[word]}?"
    if Path(word).suffix in NETWORKS or Path(word).is_file():
        return f"the command comes first, e.g. cnncc {'info' if word.endswith('.so') else 'summary'} {word}"
    return nearest_one(word.lower(), commands) or "`cnncc help` lists the commands"


def line(parser: Parser, prog: str) -> str:
    """`cnncc run [OPTIONS] NET|MODEL INPUT...`"""
    return " ".join([prog, "[OPTIONS]", *map(_written, parser.positionals())])


def _written(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    return {"+": f"{name}...", "*": f"[{name}...]", "?": f"[{name}]"}.get(str(action.nargs), name)
