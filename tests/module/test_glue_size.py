"""The glue of a deep network is many functions, none of them long: LLVM takes longer than in proportion for those."""

from __future__ import annotations

import pytest

from cnncc import lang
from cnncc.base import resources
from cnncc.machines import targets
from cnncc.module.cpu.glue import steps_ir
from cnncc.module.lower import lower
from cnncc.options import Options


def longest_function(name: str, threads: int, target: str) -> tuple[int, int]:
    """Lines of the longest function, and how many functions there are."""
    graph = lang.read(resources.directory("models") / f"{name}.net")
    text = steps_ir(lower(graph, targets.load(target), Options(threads=threads)), "steps")
    functions = [part.split("\n}")[0] for part in text.split("\ndefine ")[1:]]
    return max(f.count("\n") for f in functions), len(functions)


@pytest.mark.parametrize(("target", "threads"), [("x86-64-v3", 2), ("wasm32", 1)])
def test_no_function_grows_with_the_depth(target: str, threads: int) -> None:
    shallow, few = longest_function("cifar_resnet20", threads, target)
    deep, many = longest_function("cifar_resnet110", threads, target)
    assert deep <= 1.1 * shallow
    assert many > few
