import pytest
from passes.pass_helpers import fires, image, stays, text

from cnncc.base.errors import CnnccError
from cnncc.ir import Graph, TensorType
from cnncc.passes import with_batch
from cnncc.passes.infer_shapes import infer_shapes


def wrong() -> Graph:
    g = image(3).conv("c", "x", 4)("f", "flatten", "c").graph("f")
    nodes = tuple(n if n.op == "input" else n.with_(type=TensorType((1, 1))) for n in g.nodes)
    return Graph(g.name, nodes, g.outputs, g.constants)


def test_fires() -> None:
    right = image(3).conv("c", "x", 4)("f", "flatten", "c").graph("f")
    assert text(infer_shapes(wrong())) == text(right)
    assert infer_shapes(wrong()).constants is not right.constants


def test_second_time_and_right_types() -> None:
    once = infer_shapes(wrong())
    stays(infer_shapes, once)


def test_keeps_layouts() -> None:
    g = image(3).conv("c", "x", 4).graph("c")
    blocked = Graph(g.name, (g["x"], g["c"].with_(type=g["c"].type.with_block(8))), g.outputs, g.constants)
    stays(infer_shapes, blocked)


def test_with_batch() -> None:
    g = image(3)("k", "const", dims=(3, 1, 1))("m", "mul", "x", "k")("f", "flatten", "m").graph("f")
    three = with_batch(g, 3)
    assert {n.name: n.type.shape[0] for n in three.nodes} == {"x": 3, "k": 1, "m": 3, "f": 3}
    assert with_batch(three, 3) is not g
    fires(lambda g: with_batch(g, 1) if g["x"].attrs["batch"] != 1 else g, with_batch(g, 1), text(g))


def test_bad_batch() -> None:
    with pytest.raises(CnnccError, match="a batch of 0 images"):
        with_batch(image().conv("c", "x", 4).graph("c"), 0)
