"""Completion scripts: shells that are installed read them, and complete what the parser knows."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from cnncc.cli import COMMANDS
from cnncc.cli.completion import SHELLS

TRIALS = [
    ("cnncc su", "summary"),
    ("cnncc -q fm", "fmt"),
    ("cnncc compile --ta", "--target"),
    ("cnncc compile lenet5 --target aa", "aarch64 aarch64-bf16 aarch64-dotprod"),
    ("cnncc run vgg_a_", "vgg_a_lrn"),
    ("cnncc weights x --map o", "order"),
    ("cnncc help exp", "expand export"),
    ("cnncc completion z", "zsh"),
    ("cnncc info digi", "digit.so"),
    ("cnncc compile lenet5 -o digi", "digit.so"),
]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_has_every_command_option_and_network(cnncc, shell):
    text = cnncc("completion", shell).out
    for command in COMMANDS:
        assert command.name in text
        assert command.help.split(",")[0] in text or shell == "bash"
    for word in ("weights-external", "resnet50", "x86-64-v3", "cuda"):
        assert word in text


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_reads_it(cnncc, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    done = subprocess.run(
        [shell, "-n"], input=cnncc("completion", shell).out, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


@pytest.mark.parametrize(("line", "expected"), TRIALS)
def test_bash_completes(cnncc, tmp_path, line, expected):
    (tmp_path / "digit.so").touch()
    words = line.split(" ")
    script = f"""{cnncc("completion", "bash").out}
        COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _cnncc; echo "${{COMPREPLY[*]}}" """
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == expected.split()
