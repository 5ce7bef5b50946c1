"""The rival of the first run on a GPU is the same network: it computes in PyTorch what the reference computes."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc import lang, weights
from cnncc.base import resources
from cnncc.ir import Graph
from cnncc.ops import reference
from cnncc.ops.synthetic import random_inputs

torch = pytest.importorskip("torch")

from gpu import jobs  # noqa: E402
from gpu.torch_net import RULES, TorchNet  # noqa: E402


def network(name: str) -> Graph:
    return weights.bind(lang.read(resources.directory("models") / f"{name}.net"), None)


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v2", "squeezenet1_1", "googlenet"])
def test_it_is_the_same_network(name: str) -> None:
    graph = network(name)
    inputs = random_inputs(graph, 0)
    expected = reference.run(graph, inputs, keep_all=False)[graph.outputs[0]]
    (image,) = inputs.values()
    with torch.inference_mode():
        net = TorchNet(graph).eval().to(memory_format=torch.channels_last)
        got = net(torch.from_numpy(image.astype(np.float32))).numpy().reshape(expected.shape)
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", jobs.NETWORKS)
def test_every_op_of_the_networks_has_a_rule(name: str) -> None:
    left_out = {"dropout", "identity"}  # dropped before
    assert {node.op for node in network(name).nodes} - RULES.keys() <= left_out


def test_an_op_without_a_rule_is_refused() -> None:
    graph = weights.bind(lang.parse("net t\ninput 3x8x8\ngelu; topk 2\n"), None)
    with pytest.raises(ValueError, match="t has ops without a rule for PyTorch: gelu, topk"):
        TorchNet(graph)
