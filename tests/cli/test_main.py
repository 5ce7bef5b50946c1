"""The command line as a whole: help, exit codes, errors, start-up time."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from cnncc import __version__, cli
from cnncc.base.errors import CnnccError
from cnncc.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
QUICK = 0.2
"""Seconds that `import cnncc` and `cnncc --help` may take on an idle machine."""
NOISE = 3
"""How much longer a busy machine may take."""
NAMES = [command.name for command in COMMANDS]


def test_help_lists_every_command_with_its_purpose(cnncc):
    result = cnncc("--help")
    assert result.code == 0
    wanted = "compile run summary check quantize memory profile bench fmt expand import export info targets weights"
    assert " ".join(NAMES) == wanted
    assert all(f"    {name}" in result.out for name in NAMES)
    assert "exit codes: 0 done; 1 the result of a check is no; 2 bad input" in result.out


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command_has_examples_and_exit_codes(cnncc, name):
    result = cnncc(name, "--help")
    assert result.code == 0
    assert f"examples:\n  cnncc {name}" in result.out
    assert "exit codes: 0 " in result.out
    assert "2 bad input or usage" in result.out


def test_version(cnncc):
    assert cnncc("--version").out == f"cnncc {__version__}\n"


@pytest.mark.parametrize("argv", [(), ("nonsense",), ("summary",), ("compile", "x", "--batch", "0"), ("run", "x")])
def test_wrong_usage_exits_2(cnncc, argv):
    result = cnncc(*argv)
    assert result.code == 2
    assert "usage: cnncc" in result.err


def test_a_number_below_one_is_refused_by_name(cnncc):
    assert (
        "argument --threads: expected a whole number of at least 1, got '-'"
        in cnncc("check", "x", "--threads", "-").err
    )


def test_an_error_bound_that_is_no_number(cnncc):
    assert (
        "argument --max-error: expected a number of at least 0, got 'x'" in cnncc("check", "x", "--max-error", "x").err
    )


def test_an_empty_argument_is_refused(cnncc):
    result = cnncc("compile", "lenet5", "-o", "")
    assert (result.code, "argument output: is empty" in result.err) == (2, True)


def test_more_threads_than_the_pool_holds_are_refused(cnncc):
    assert "argument --threads: expected 256 at most, got 257" in cnncc("check", "x", "--threads", 257).err


@pytest.mark.parametrize("value", ["nan", "inf", "x"])
def test_an_error_bound_is_a_finite_number(cnncc, value):
    assert "argument --max-error: " in cnncc("compile", "x", "--max-error", value).err


def test_long_hints_are_wrapped_between_words():
    names = ", ".join(f"some-name-{i}" for i in range(30))
    lines = str(CnnccError("no", hint=f"known: {names}")).splitlines()
    assert max(map(len, lines)) <= 100
    assert " ".join(line.strip() for line in lines[1:]) == f"hint: known: {names}"
    assert all(line.startswith("        some-name-") for line in lines[2:])


def raising(monkeypatch, error):
    def run(args):
        raise error

    command = COMMANDS[NAMES.index("targets")]
    monkeypatch.setattr(cli, "COMMANDS", (type(command)(command.name, command.help, "x", command.configure, run),))


def test_bad_input_is_one_message_and_exit_2(cnncc, monkeypatch):
    raising(monkeypatch, CnnccError("no such thing", hint="try another"))
    result = cnncc("targets")
    assert (result.code, result.out, result.err) == (2, "", "cnncc: no such thing\n  hint: try another\n")


def test_a_file_that_cannot_be_written_is_named(cnncc, monkeypatch):
    raising(monkeypatch, PermissionError(13, "Permission denied", "out.so"))
    result = cnncc("targets")
    assert (result.code, result.err) == (2, "cnncc: out.so: permission denied\n")


def test_an_interrupt_exits_130_without_a_traceback(cnncc, monkeypatch):
    raising(monkeypatch, KeyboardInterrupt())
    result = cnncc("targets")
    assert (result.code, result.err) == (130, "cnncc: interrupted\n")


def test_our_own_mistakes_are_not_hidden(cnncc, monkeypatch):
    raising(monkeypatch, AssertionError("invariant"))
    with pytest.raises(AssertionError, match="invariant"):
        cnncc("targets")


@pytest.mark.parametrize("argv", [("targets",), ("targets", "--json"), ("summary", "googlenet"), ("--help",)], ids=str)
def test_a_reader_that_leaves_is_no_error(argv):
    command = [sys.executable, "-m", "cnncc", *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() in (0, 141)  # argparse itself swallows the error of a help text


def test_an_unknown_network_is_one_line_and_exit_2():
    command = [sys.executable, "-m", "cnncc", "expand", "nowhere.net"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("cnncc: ")
    assert "nowhere.net" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argv", [("-c", "import cnncc"), ("-m", "cnncc", "--help")], ids=["import", "help"])
def test_starts_quickly(argv):
    def seconds() -> float:
        """Of the processor: other tests run at the same time."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *argv], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert statistics.median(seconds() for _ in range(5)) < QUICK * NOISE


@pytest.mark.parametrize("argv", [("-c", "import cnncc"), ("-m", "cnncc", "--help")], ids=["import", "help"])
def test_starting_loads_none_of_the_heavy_packages(argv):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *argv], check=True, capture_output=True, text=True, cwd=ROOT
    )
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {"numpy", "networkx", "lark", "rich", "tvm", "llvmlite", "safetensors", "PIL"}


def test_the_summary_does_not_load_tvm():
    code = "import sys; from cnncc.cli import main; main(['summary', '-', '--json']); assert 'tvm' not in sys.modules"
    text = b"net t\ninput 3x8x8\nconv 3x3 4 relu\n"
    subprocess.run([sys.executable, "-c", code], input=text, check=True, capture_output=True, cwd=ROOT)
