"""Checkpoints with batch norms for networks that have them inside the layers before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cnncc import lang, weights
from cnncc.base.errors import CnnccError, CnnccWarning
from cnncc.cli import main
from cnncc.ir import Graph
from cnncc.ops import reference
from cnncc.weights import checkpoint

PLAIN = """net t
input 3x9x9
conv1: conv 3x3 4 {norm}relu
up: upconv 2x2 6 /2 groups 2 {norm}relu
add {{ conv 3x3 6 {norm}relu; conv 3x3 6 {norm}| }}
gap
fc 5
"""
WITH, WITHOUT = PLAIN.format(norm="bn eps 1e-3 "), PLAIN.format(norm="")
NAMES = {
    "conv1.": "conv1.", "conv1.bn.": "bn1.", "up.": "layer1.0.", "up.bn.": "layer1.1.", "2.a.0.": "layer2.conv1.",
    "2.a.0.bn.": "layer2.bn1.", "2.a.1.": "layer2.conv2.", "2.a.1.bn.": "layer2.bn2.", "4.": "fc.",
}  # fmt: skip
"""Layers of the network, and what a model of PyTorch calls them."""


def trained() -> Graph:
    """The network with norms whose statistics are no zeros and ones."""
    graph = weights.bind(lang.parse(WITH), seed=3)
    norms = {name: constant for name, constant in graph.constants.items() if ".bn." in name}
    rng = np.random.default_rng(5)
    values = {name: rng.uniform(0.5, 2, constant.shape).astype(np.float32) for name, constant in norms.items()}
    changed = {name: norms[name].map(value.shape, lambda _, value=value: value) for name, value in values.items()}
    return graph.rebuild(graph.nodes, constants=changed)


def stored(graph: Graph, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    found = {}
    for name, constant in graph.constants.items():
        layer, slot = re.fullmatch(r"(.*\.)(\w+)", name).groups()  # type: ignore[union-attr]
        found[names.get(layer, layer) + slot] = constant.compute()
        if slot == "running_var":
            found[names.get(layer, layer) + "num_batches_tracked"] = np.array(9)
    return found


def same_results(graph: Graph, wanted: Graph) -> None:
    image = np.random.default_rng(1).standard_normal((1, 3, 9, 9)).astype(np.float32)
    (a,), (b,) = (reference.run(g, [image]).values() for g in (graph, wanted))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("names", ["order", "torchvision"])
def test_layers_in_order(names: str, tmp_path: Path) -> None:
    graph = trained()
    np.savez(tmp_path / "c.npz", **stored(graph, NAMES))
    with pytest.warns(CnnccWarning, match=r"4 batch norms of .*c\.npz folded into the layers before, .* eps 0\.001"):
        bound = checkpoint.bind(lang.parse(WITHOUT), tmp_path / "c.npz", names, eps=1e-3)
    same_results(bound, graph)


def test_layers_by_their_names(tmp_path: Path) -> None:
    """The norm after a layer is found in any order of the file; a layer may have a bias of its own too."""
    text = "net t\ninput 3x9x9\nfeatures: conv1: conv 3x3 4 {0}\nconv2: conv 3x3 6 {1}\n".replace("features: ", "")
    graph = weights.bind(lang.parse(text.format("bias bn", "bn")), seed=2)
    names = {"conv1.bn.": "bn1.", "conv2.bn.": "bn2."}
    save_file(stored(graph, names), tmp_path / "c.safetensors")
    with pytest.warns(CnnccWarning, match=r"2 batch norms of .* with eps 1e-05, which the file does not say"):
        bound = checkpoint.bind(lang.parse(text.format("", "")), tmp_path / "c.safetensors")
    same_results(bound, graph)


def test_norms_of_the_network_stay(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A bias before a norm is no sign of one that is folded, and DenseNet's layers begin with norms that stay."""
    for text in (
        "net t\ninput 3x9x9\nconv 3x3 4 bias bn relu; conv 3x3 4 relu; bn; conv 1x1 4\n",
        "net t\ninput 3x9x9\nconv 3x3 4 relu; bn; relu; conv 1x1 4 nobias; bn; relu\n",
    ):
        graph = weights.bind(lang.parse(text), seed=2)
        np.savez(tmp_path / "c.npz", **stored(graph, {}))
        for names in checkpoint.MAPS[::2]:
            same_results(checkpoint.bind(lang.parse(text), tmp_path / "c.npz", names), graph)
    assert not recwarn.list


def test_wrong_sizes_are_told(tmp_path: Path) -> None:
    tensors = stored(trained(), NAMES)
    tensors["bn1.running_mean"] = tensors["bn1.running_mean"][:3]
    np.savez(tmp_path / "c.npz", **tensors)
    with pytest.raises(CnnccError, match="of another network than t: layer 1 is conv1 with weight, conv1 wants bias"):
        checkpoint.bind(lang.parse(WITHOUT), tmp_path / "c.npz", "order")
    np.savez(tmp_path / "c.npz", **{**stored(trained(), NAMES), "conv1.weight": np.zeros((4, 1, 3, 3), np.float32)})
    with (
        pytest.warns(CnnccWarning, match="folded"),
        pytest.raises(CnnccError, match=r"shape of conv1\.weight: the net has 4x3x3x3, the file 4x1x3x3"),
    ):
        checkpoint.bind(lang.parse(WITHOUT), tmp_path / "c.npz", "order")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--weights` takes what fits as it is, and names the command that folds."""
    net, file, out = tmp_path / "t.net", tmp_path / "c.safetensors", tmp_path / "t.safetensors"
    net.write_text(WITHOUT)
    graph = trained()
    save_file(stored(graph, {}), file)
    assert main(["compile", str(net), "--weights", str(file), "-o", str(tmp_path / "t.so")]) == 2
    told = capsys.readouterr().err
    assert "has its batch norms inside the layers before them" in told
    assert f"`cnncc weights NET --from {file} -o FILE`" in " ".join(told.split())
    assert main(["weights", str(net), "--from", str(file), "--eps", "1e-3", "-o", str(out)]) == 0
    told = capsys.readouterr()
    assert "4 batch norms" in told.err
    assert "`cnncc weights --eps` takes another" in " ".join(told.err.split())
    same_results(weights.bind(lang.parse(WITHOUT), out), graph)
