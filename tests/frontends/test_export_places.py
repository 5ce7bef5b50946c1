"""What of sampling, scattering and boxes ONNX can say, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from frontends.test_export_onnx import agrees

from cnncc import lang, weights
from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.export import to_onnx
from cnncc.ir import Graph
from cnncc.passes import with_batch


def network(body: str) -> Graph:
    return weights.bind(lang.parse(f"net t\n{body}\n"), seed=1)


@pytest.mark.parametrize("how", ["5 iou 0.3", "40 iou 0.5 score 0.2", "3 iou 0 center"])
def test_nms(how: str) -> None:
    graph = network(f"input b 1x31x4\ninput s 1x3x31\nnms {{ from b | from s }} {how}")
    rng = np.random.default_rng(4)
    low = rng.uniform(0, 20, (1, 1, 31, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 9, (1, 1, 31, 2))], axis=3)
    scores = rng.permutation(93).reshape(1, 1, 3, 31) / 93
    agrees(graph, {"b": boxes.astype(np.float32), "s": scores.astype(np.float32)})


REFUSED = {
    "input x 4x12x5\ninput g 3x2x2\nsample { from x | from g } depth 3": "1: sampling a volume: an op of a newer opset",
    "input x 2x3x5\ninput i 2x4x1\ninput y 2x4x5\nscatter { from x | from i | from y } max": "1: scatter with max: an",
    "input 2x9x9\nargmaxpool 2x2 dil 3 pad 2": "0: ONNX has no pool with as much padding as its kernel",
}


@pytest.mark.parametrize("body", REFUSED)
def test_refused(body: str) -> None:
    with pytest.raises(CnnccError) as caught:
        to_onnx(network(body))
    assert REFUSED[body].partition(": ")[2] in caught.value.message


def test_the_boxes_of_a_batch_are_refused() -> None:
    graph = network("input b 1x9x4\ninput s 1x1x9\nnms { from b | from s } 5")
    with pytest.raises(CnnccError, match="ONNX joins the boxes of a batch"):
        to_onnx(with_batch(graph, 2))
