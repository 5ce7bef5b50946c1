"""The outputs of all networks of the zoo, whole, of modules as they are delivered, against float64."""

from __future__ import annotations

import pytest

from cnncc import api, lang, weights
from cnncc.base import resources
from cnncc.report.check import LARGEST_ERROR, check_module

ZOO = sorted(p.stem for p in resources.directory("models").glob("*.net"))
QUICK = {"lenet5", "cifar_resnet20", "convnetjs_cifar10", "squeezenet1_1"}
TOO_DEEP = {"cifar_resnet1202"}
"""Compiling and running it takes many minutes, and it repeats the layers of the others."""


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ZOO if n not in TOO_DEEP]
)
def test_outputs_of_the_zoo(name: str) -> None:
    models = resources.directory("models")
    own = models / f"{name}.safetensors"
    graph = weights.bind(lang.read(models / f"{name}.net"), own if own.is_file() else None)
    report = check_module(api.build(graph).model(), graph)
    assert {layer.name for layer in report.layers} == set(graph.outputs)
    assert report.passed, report.first_failure
    assert max(layer.error for layer in report.layers) <= LARGEST_ERROR
