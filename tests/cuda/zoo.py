"""The networks of the zoo, for tests of GPU code."""

from __future__ import annotations

from cnncc import lang, weights
from cnncc.base import resources
from cnncc.ir import Graph

ZOO = sorted(p.stem for p in resources.directory("models").glob("*.net"))


def network(name: str) -> Graph:
    """A network of the zoo with random weights."""
    return weights.bind(lang.read(resources.directory("models") / f"{name}.net"), None)
