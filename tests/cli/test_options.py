"""Options: defaults in one place, what is refused, and a key that every field changes."""

from __future__ import annotations

import argparse
import inspect
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncc import api
from cnncc.base.errors import CnnccError
from cnncc.cli import command
from cnncc.options import DEFAULT, Options, split_targets
from cnncc.runtime.cpu import MOST_THREADS

OTHER: dict[str, Any] = {
    "targets": ("x86-64-v3",),
    "batch": 2,
    "threads": 1,
    "max_error": 0.0,
    "dtype": "tf32",
    "weights_dtype": "bfloat16",
    "tune": 1.0,
    "keep_all": True,
    "stamps": True,
}
"""For every field, a value that is not the default."""


def test_the_key_changes_with_every_field() -> None:
    assert OTHER.keys() == {f.name for f in fields(Options)}, "a new field needs a value here"
    keys = {replace(DEFAULT, **{name: value}).key() for name, value in OTHER.items()}
    assert len(keys | {DEFAULT.key()}) == len(OTHER) + 1
    assert Options().key() == DEFAULT.key()


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"targets": ()}, "no target is named", ""),
    ({"targets": "host"}, "targets must be a tuple of names, got 'host'", "('host',)"),
    ({"targets": None}, "targets must be a tuple of names, got None", ""),
    ({"targets": (None,)}, "the name of a target must be a text, got None", ""),
    ({"targets": (Path("host"),)}, f"the name of a target must be a text, got {Path('host')!r}", ""),
    ({"batch": 0}, "batch must be at least 1, got 0", ""),
    ({"batch": 1.5}, "batch must be a whole number, got 1.5", ""),
    ({"batch": "2"}, "batch must be a whole number, got '2'", ""),
    ({"batch": True}, "batch must be a whole number, got True", ""),
    ({"threads": True}, "threads must be a whole number, got True", ""),
    ({"threads": 0}, "threads must be at least 1, got 0", ""),
    ({"threads": 1.5}, "threads must be a whole number, got 1.5", ""),
    ({"threads": MOST_THREADS + 1}, f"threads must be at most {MOST_THREADS}, got {MOST_THREADS + 1}", ""),
    ({"max_error": -1e-9}, "max_error must be a number of at least 0, got -1e-09", ""),
    ({"max_error": float("nan")}, "max_error must be a number of at least 0, got nan", ""),
    ({"max_error": float("inf")}, "max_error must be a number of at least 0, got inf", ""),
    ({"max_error": "small"}, "max_error must be a number of at least 0, got 'small'", ""),
    ({"max_error": "1e-5"}, "max_error must be a number of at least 0, got '1e-5'", ""),
    ({"max_error": False}, "max_error must be a number of at least 0, got False", ""),
    ({"max_error": 10**400}, f"max_error must be a number of at least 0, got {10**400}", ""),
    ({"dtype": "float61"}, "unknown dtype 'float61'", "did you mean 'float16'?"),
    ({"weights_dtype": "bfloat"}, "unknown type of weights 'bfloat'", "did you mean 'bfloat16'?"),
    (
        {"dtype": "float16", "weights_dtype": "bfloat16"},
        "with dtype float16 weights are float16, not bfloat16",
        "leave the type of weights out",
    ),
    ({"tune": 0.0}, "tuning needs a number of seconds above 0, got 0.0", ""),
    ({"tune": float("inf")}, "tuning needs a number of seconds above 0, got inf", ""),
    ({"tune": "long"}, "tuning needs a number of seconds above 0, got 'long'", ""),
    ({"tune": "5"}, "tuning needs a number of seconds above 0, got '5'", ""),
    ({"tune": True}, "tuning needs a number of seconds above 0, got True", ""),
]


@pytest.mark.parametrize(("wrong", "message", "hint"), REFUSALS, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(CnnccError) as caught:
        Options(**wrong)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)


def test_targets_are_a_sequence_or_a_text_with_commas() -> None:
    assert split_targets("x86-64-v2,x86-64-v3") == split_targets(["x86-64-v2", "x86-64-v3"])
    assert split_targets("host") == DEFAULT.targets


@pytest.mark.parametrize("wrong", [None, 5, Path("host"), [None], ["host", Path("host")], {"host"}, b"host"], ids=repr)
def test_other_targets_are_refused(wrong: Any) -> None:
    with pytest.raises(CnnccError, match="must be a"):
        split_targets(wrong)
    with pytest.raises(CnnccError, match="must be a"):
        api.compile("lenet5", target=wrong, seed=0)


def test_numbers_of_numpy_become_plain() -> None:
    """So that equal options have one key, and everything that reads them can write them as JSON."""
    plain = Options(batch=2, threads=3, max_error=0.5, tune=4.0)
    given = Options(batch=np.int64(2), threads=np.uint8(3), max_error=np.float32(0.5), tune=np.int32(4))  # type: ignore[arg-type]
    assert given == plain
    assert given.key() == plain.key()
    for name in ("batch", "threads", "max_error", "tune"):
        assert type(getattr(given, name)) is type(getattr(plain, name))
    assert Options(targets=["host"]) == DEFAULT  # type: ignore[arg-type]


def test_compile_has_the_same_defaults() -> None:
    parameters = inspect.signature(api.compile).parameters
    for name in set(command.BUILT_WITH) - {"batch"}:
        assert parameters[name].default == getattr(DEFAULT, name)
    assert parameters["batch"].default is None, "what is compiled into a process takes many images"
    assert parameters["target"].default == DEFAULT.targets


def test_help_shows_the_defaults(cnncc: Any) -> None:
    told = " ".join(cnncc("compile", "--help").out.split())
    for name in command.BUILT_WITH:
        option, default = "--" + name.replace("_", "-"), getattr(DEFAULT, name)
        about = told[told.rindex(f"{option} ") :].split(" --")[0]
        if isinstance(default, (int, str)):
            assert f"(default: {default})" in about
        elif isinstance(default, float):
            assert float(about.split("(default: ")[1].split(")")[0]) == default


def test_the_command_line_says_nothing_else() -> None:
    """Without options, what is compiled is what `Options()` says."""
    parser = argparse.ArgumentParser()
    command.add_build_options(parser)
    command.add_weights_dtype(parser)
    command.add_tune(parser)
    assert command.options(parser.parse_args([])) == DEFAULT
    given = "--target x86-64-v2,x86-64-v3 --batch 2 --threads 1 --max-error 0 --dtype tf32 --weights-dtype bfloat16"
    wanted = {name: OTHER[name] for name in command.BUILT_WITH} | {"targets": ("x86-64-v2", "x86-64-v3")}
    assert command.options(parser.parse_args([*given.split(), "--tune", "1"])) == Options(**wanted)
