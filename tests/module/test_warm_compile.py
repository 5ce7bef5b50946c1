"""A network whose objects are all in the cache is compiled without a compiler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cnncc
from cnncc import api, lang, weights
from cnncc.machines import targets
from cnncc.module import toolchain
from cnncc.module.cpu import assemble, objects
from cnncc.options import Options

NET = "net warm\ninput 3x20x20\nconv 3x3 8 bn relu; dwconv 3x3; save a\nconv 1x1 24; shuffle 4; gap; fc 5 softmax\n"
MAKERS = ((objects, "compile_kernel"), (assemble, "assembled"), (toolchain, "_compiled"))
"""Whatever makes an object: TVM, llvmlite, the C compiler."""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the makers that were called since, with an empty cache to begin with."""
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path / "cache"))
    calls: list[str] = []
    for module, name in MAKERS:
        monkeypatch.setattr(module, name, counted(name, getattr(module, name), calls))
    return calls


def counted(name: str, make: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def called(*given: Any) -> Any:
        calls.append(name)
        return make(*given)

    return called


def compile_to(path: Path, text: str = NET, seed: int = 0, target: str = "x86-64-v3") -> bytes:
    graph = weights.bind(lang.parse(text), seed=seed)
    api.build(graph, Options((target,), threads=2)).write({"so": path})
    return path.read_bytes()


def test_the_second_time_no_object_is_made(tmp_path: Path, made: list[str]) -> None:
    first = compile_to(tmp_path / "first.so")
    assert set(made) == {name for _, name in MAKERS}
    made.clear()
    assert compile_to(tmp_path / "second.so") == first
    assert made == []


def test_other_weights_need_no_object(tmp_path: Path, made: list[str]) -> None:
    first = compile_to(tmp_path / "first.so")
    made.clear()
    assert compile_to(tmp_path / "second.so", seed=1) != first
    assert made == ([] if toolchain.places_sections(targets.load("x86-64-v3")) else ["assembled"])  # it has their hash


@pytest.mark.parametrize("change", [{"text": NET.replace("20x20", "20x24")}, {"target": "x86-64-v4"}])
def test_what_changes_the_glue_makes_it_anew(tmp_path: Path, made: list[str], change: dict[str, Any]) -> None:
    compile_to(tmp_path / "first.so")
    made.clear()
    compile_to(tmp_path / "second.so", **change)
    assert made.count("assembled") == 2, "the steps, and what callers see"


def test_in_this_process_no_object_is_made_twice(made: list[str]) -> None:
    cnncc.compile(NET, threads=1)
    assert made
    made.clear()
    cnncc.compile(NET, threads=1)
    assert made == []
