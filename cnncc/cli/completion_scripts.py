"""Completion scripts of shells, made from the parser: nothing is listed twice."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cnncc.cli import emit
from cnncc.cli.usage import Parser

NETS = ("NET", "NET|MODEL")
FILES = ("FILE", "MODEL", "MODULE", "INPUT", "DIR")
"""What arguments that name networks or files are called in usage lines."""


@dataclass(frozen=True)
class ShellArgument:
    """An option or a positional argument, and what may stand for its value."""

    strings: tuple[str, ...]
    help: str
    valued: bool
    words: tuple[str, ...] = ()
    files: bool = False


@dataclass(frozen=True)
class ShellCommand:
    """A command with its arguments."""

    name: str
    help: str
    options: tuple[ShellArgument, ...]
    positionals: tuple[ShellArgument, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """What its positional arguments may be."""
        return tuple(dict.fromkeys(word for argument in self.positionals for word in argument.words))

    @property
    def files(self) -> bool:
        return any(argument.files for argument in self.positionals)


def script(shell: str, top: Parser) -> str:
    """The script of a shell: `bash`, `zsh` or `fish`."""
    makers: dict[str, Callable[[list[ShellCommand]], Iterator[str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
    return "\n".join(makers[shell](list(commands(top)))) + "\n"


def commands(top: Parser) -> Iterator[ShellCommand]:
    """All commands of the parser."""
    for action in top.positionals():
        assert isinstance(action.choices, dict)
        helps = {choice.dest: choice.help or "" for choice in action._get_subactions()}  # type: ignore[attr-defined]
        names = tuple(action.choices)
        for name, parser in action.choices.items():
            options = tuple(argument(option, names) for option in parser.options())
            yield ShellCommand(name, helps[name], options, tuple(argument(p, names) for p in parser.positionals()))


def argument(action: argparse.Action, names: Sequence[str]) -> ShellArgument:
    """What completes an argument, told by its choices and by what usage lines call its value."""
    valued = action.nargs != 0
    words = tuple(map(str, action.choices or ())) if valued else ()
    if action.metavar in NETS:
        words = tuple(networks())
    elif action.metavar == "COMMAND":
        words = tuple(names)
    elif action.dest in ("target", "names"):
        words = tuple(all_targets())
    elif action.dest == "emit":
        words = tuple(emit.KINDS)
    files = action.metavar in (*FILES, *NETS)
    text = (action.help or "").replace("%%", "%")
    return ShellArgument(tuple(action.option_strings), text, valued, words, files)


def networks() -> list[str]:
    """Those that come with cnncc."""
    from cnncc.base import resources

    return sorted(path.stem for path in resources.directory("models").glob("*.net"))


def all_targets() -> list[str]:
    from cnncc import machines

    return machines.names()


def bash(found: list[ShellCommand]) -> Iterator[str]:
    """Words are matched by `compgen`; where files fit too, they are added."""
    yield BASH_HEAD.replace("COMMANDS", " ".join(command.name for command in found))
    yield '    case "$command $previous" in'
    for command in found:
        for option in command.options:
            if option.valued:
                names = "|".join(f'"{command.name} {string}"' for string in option.strings)
                yield f'        {names}) _cnncc_reply "{" ".join(option.words)}" {"files" if option.files else ""};;'
    yield '        *) case "$current $command" in'
    for command in found:
        options = " ".join(string for option in command.options for string in option.strings)
        yield f'            -*" {command.name}") _cnncc_reply "{options}";;'
        yield f'            *" {command.name}") _cnncc_reply "{" ".join(command.words)}" {_files(command)};;'
    yield "        esac;;\n    esac\n}\ncomplete -F _cnncc cnncc"


def _files(command: ShellCommand) -> str:
    return "files" if command.files else ""


BASH_HEAD = """\
# Completion of cnncc for bash, written by `cnncc completion bash`.
_cnncc_reply() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"; [[ $2 == files ]] && compgen -f -- "$current")
    if [[ $2 == files ]]; then compopt -o filenames 2>/dev/null; fi
}
_cnncc() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= i
    if [[ $previous == = ]]; then previous=${COMP_WORDS[COMP_CWORD-2]}; fi
    if [[ $current == = ]]; then current=; fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} != -* ]]; then command=${COMP_WORDS[i]}; break; fi
    done
    if [[ -z $command ]]; then _cnncc_reply "COMMANDS --help --quiet --version"; return; fi"""


def zsh(found: list[ShellCommand]) -> Iterator[str]:
    """By `_arguments`, with the help of each option."""
    yield "#compdef cnncc\n# Completion of cnncc for zsh, written by `cnncc completion zsh`."
    yield "_cnncc() {\n  local context state state_descr line\n  typeset -A opt_args\n  local -a commands\n  commands=("
    yield from (f"    {_quoted(f'{command.name}:{command.help}')}" for command in found)
    yield "  )"
    yield "  _arguments -C '(-q --quiet)'{-q,--quiet}'[errors only]' '1:command:->command' '*::argument:->argument'"
    yield "  case $state in\n    command) _describe -t commands command commands;;\n    argument) case $line[1] in"
    for command in found:
        yield f"      {command.name}) _arguments \\"
        for option in command.options:
            yield f"        {_zsh_option(option)} \\"
        last = f"'*:argument:{_zsh_action(command.words, command.files)}'"
        yield f"        {last};;"
    yield '    esac;;\n  esac\n}\nif [[ $funcstack[1] == _cnncc ]]; then _cnncc "$@"; else compdef _cnncc cnncc; fi'


def _zsh_option(option: ShellArgument) -> str:
    text = option.help.replace("[", r"\[").replace("]", r"\]").replace(":", r"\:").replace("'", "'\\''")
    value = f":value:{_zsh_action(option.words, option.files)}" if option.valued else ""
    names = "{" + ",".join(option.strings) + "}" if len(option.strings) > 1 else option.strings[0]
    exclusive = f"'({' '.join(option.strings)})'" if len(option.strings) > 1 else ""
    return f"{exclusive}{names}'[{text}]{value}'"


def _zsh_action(words: Sequence[str], files: bool) -> str:
    """What completes a value: words, files, or either."""
    listed = f"({' '.join(words)})"
    if words and files:
        # The space in front: _arguments adds no options of its own, which _alternative would not know.
        return f' _alternative "words\\:word\\:{listed}" "files\\:file\\:_files"'
    return listed if words else "_files" if files else " "


def fish(found: list[ShellCommand]) -> Iterator[str]:
    """A line for each word that can be completed."""
    yield "# Completion of cnncc for fish, written by `cnncc completion fish`.\ncomplete -c cnncc -f"
    for command in found:
        yield f"complete -c cnncc -n __fish_use_subcommand -a {command.name} -d {_quoted(command.help)}"
    for command in found:
        start = f"complete -c cnncc -n '__fish_seen_subcommand_from {command.name}'"
        for option in command.options:
            yield " ".join([start, *_fish_option(option), "-d", _quoted(option.help)])
        if command.files:
            yield f"{start} -F"
        if command.words:
            yield f"{start} -a {_quoted(' '.join(command.words))}"


def _fish_option(option: ShellArgument) -> Iterator[str]:
    for string in option.strings:
        yield f"-l {string[2:]}" if string.startswith("--") else f"-s {string[1:]}"
    if option.valued:
        yield "-r -F" if option.files else "-x"
    if option.words:
        yield f"-a {_quoted(' '.join(option.words))}"


def _quoted(text: str) -> str:
    """A word of zsh or fish; both read a quote inside quotes as this."""
    return "'" + text.replace("'", "'\\''") + "'"
