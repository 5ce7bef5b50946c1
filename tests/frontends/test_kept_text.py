"""The text of an imported network is found once, and read back from then on."""

from __future__ import annotations

import pytest

from cnncc import lang
from cnncc.base import resources
from cnncc.frontends.text import kept_text as module
from cnncc.frontends.text.kept_text import again, kept_text, key_of
from cnncc.frontends.text.write import net_text
from cnncc.ir import Graph


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_CACHE", str(tmp_path / "cache"))


def network(name: str = "cifar_resnet20") -> Graph:
    return lang.read(resources.directory("models") / f"{name}.net")


def test_a_text_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = kept_text(network(), {})
    monkeypatch.setattr(module, "net_text", lambda *_: pytest.fail("looked for again"))
    second = kept_text(network(), {})
    assert second.text == first.text
    assert (second.renamed, second.flat) == (first.renamed, first.flat)
    assert second.graph == first.graph


def test_other_weights_of_the_same_network_stay_theirs() -> None:
    kept_text(network(), {})
    graph = network()
    weights = {graph.constants[name] for node in graph.nodes for name in node.weights.values()}
    assert set(kept_text(graph, {}).graph.constants.values()) == weights


def test_a_text_of_another_network_is_not_taken() -> None:
    graph, other = network(), net_text(network("cifar_resnet32"))
    assert again(graph, other.text, [*other.renamed], other.flat) is None


def test_a_key_knows_names_attributes_and_sources() -> None:
    graph = network()
    conv = next(node for node in graph.nodes if node.op == "conv")
    changed = [node.with_(attrs={**node.attrs, "pad": (0, 0, 0, 0)}) if node is conv else node for node in graph.nodes]
    renamed = Graph("other", graph.nodes, graph.outputs, graph.constants, graph.ports)
    graphs = [graph, renamed, Graph(graph.name, tuple(changed), graph.outputs, graph.constants, graph.ports)]
    keys = {key_of(graph, {"a": "b"}), *(key_of(g, {}) for g in graphs)}
    assert len(keys) == 4


def test_small_networks_are_not_kept() -> None:
    assert key_of(lang.parse("net small\ninput 3x8x8\nconv 3x3 4 relu\n"), {}) == ""
