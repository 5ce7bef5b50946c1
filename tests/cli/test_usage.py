"""Wrong usage is told with the usage line of the command and the nearest right word, never with a list of all."""

from __future__ import annotations

import pytest

from cnncc.cli import COMMANDS
from cnncc.cli.usage import ELSEWHERE, OPTIONS_ELSEWHERE

TOP = "cnncc COMMAND [ARGUMENTS]"
COMPILE, RUN = "cnncc compile [OPTIONS] NET", "cnncc run [OPTIONS] NET|MODEL INPUT..."
NAMES = [command.name for command in COMMANDS]

CASES = [
    (("summry", "x"), TOP, "cnncc: unknown command 'summry'", "did you mean summary?"),
    (("SUMMARY",), TOP, "cnncc: unknown command 'SUMMARY'", "did you mean summary?"),
    (("benchmark",), TOP, "cnncc: unknown command 'benchmark'", "did you mean bench?"),
    (("version",), TOP, "cnncc: unknown command 'version'", "did you mean --version?"),
    (("qqq",), TOP, "cnncc: unknown command 'qqq'", "`cnncc help` lists the commands"),
    (
        ("my.net",),
        TOP,
        "unknown command 'my.net'",
        "the command comes first, e.g. cnncc summary",
    ),
    (("a.so",), TOP, "unknown command 'a.so'", "the command comes first, e.g. cnncc info a.so"),
    (("--json", "summary", "x"), TOP, "cnncc: unknown option --json", "options of a command"),
    (("help", "sumary"), TOP, "cnncc: unknown command 'sumary'", "did you mean summary?"),
    (("compile", "x", "--wieghts", "y"), COMPILE, "unknown option --wieghts", "mean --weights?"),
    (("compile", "x", "--bacth=2"), COMPILE, "unknown option --bacth", "did you mean --batch?"),
    (
        ("run", "x", "y", "-k", "3"),
        RUN,
        "unknown option -k",
        "did you mean --top?",
    ),
    (("fmt", "x", "--topk"), "cnncc fmt [OPTIONS] FILE...", "unknown option --topk", "`cnncc fmt --help` tells more"),
    (
        ("compile",),
        COMPILE,
        "the following arguments are required: NET",
        "`cnncc compile --help`",
    ),
    (("summary", "x", "y"), "cnncc summary [OPTIONS] NET", "unexpected argument 'y'", "`cnncc summary --help`"),
    (
        ("weights", "x", "--map", "torch"),
        "cnncc weights [OPTIONS] NET",
        "argument --map: unknown value 'torch': expected names, torchvision, order",
        "did you mean torchvision?",
    ),
    (("check", "x", "--seed", "y"), "cnncc check [OPTIONS] NET", "argument --seed: expected a whole number", "`cnncc"),
    (("compile", "x", "--tune", "y"), COMPILE, "argument --tune: expected a number above", "`c"),
    (("bench", "--seconds", "y"), "cnncc bench [OPTIONS] [NET...]", "argument --seconds: expected a number above", "`"),
    (("run", "x", ""), RUN, "argument inputs: is empty", "`cnncc run --help`"),
    (("completion", "tcsh"), "cnncc completion [OPTIONS] SHELL", "unknown value 'tcsh': expected bash, zsh, fish", "`"),
]


@pytest.mark.parametrize(("argv", "usage", "message", "hint"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_wrong_usage(cnncc, argv, usage, message, hint):
    result = cnncc(*argv)
    first, *rest = result.err.splitlines()
    assert (result.code, result.out, first) == (2, "", f"usage: {usage}")
    assert message in rest[0]
    assert rest[1].startswith("  hint: ")
    assert hint in rest[1]
    assert len(rest) == 2


def test_alone_it_prints_the_help_and_exits_2(cnncc):
    result = cnncc()
    assert (result.code, result.out, result.err) == (2, "", cnncc("--help").out)


def test_help_is_that_of_the_option(cnncc):
    assert cnncc("help").out == cnncc("--help").out
    assert cnncc("help", "compile").out == cnncc("compile", "--help").out
    assert cnncc("help").code == 0


def test_the_words_of_other_tools_lead_to_ours(cnncc):
    assert set(ELSEWHERE.values()) <= {*NAMES, "--version"}
    assert not set(ELSEWHERE) & set(NAMES)
    everything = "".join(cnncc(name, "--help").out for name in NAMES)
    assert all(option in everything for option in OPTIONS_ELSEWHERE.values())


def test_files_may_stand_on_both_sides_of_an_option(cnncc, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.net").write_text("net t\ninput 3x8x8\nrelu\n")
    assert cnncc("fmt", tmp_path / "a.net", "--check", tmp_path / "b.net").code == 0
    assert cnncc("targets", "host", "--json", "aarch64").json[1]["name"] == "aarch64"


def test_an_option_of_all_commands_may_stand_in_front(cnncc):
    assert cnncc("-q", "targets", "host").out == cnncc("targets", "host", "--quiet").out == cnncc("targets", "host").out


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_every_command_tells_of_the_quiet_one(cnncc, name):
    assert "-q, --quiet" in cnncc(name, "--help").out
