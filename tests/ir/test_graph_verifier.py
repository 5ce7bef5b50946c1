"""The verifier: a good graph passes, each rule can fail, and the error names node and rule."""

import pytest

from cnncc import ops
from cnncc.base.elements import INT8
from cnncc.base.errors import CnnccError, Span
from cnncc.ir import Constant, Graph, Node, Quantization, TensorType

SHAPE = (1, 3, 8, 8)
CONV = ops.complete("conv", {"out": 4, "kernel": (3, 3), "pad": (1, 1, 1, 1)})


def good() -> Graph:
    x = Node("x", "input", (), TensorType(SHAPE), ops.complete("input", {"dims": SHAPE[1:]}))
    slots = {"weight": "c.weight", "bias": "c.bias"}
    c = Node(
        "c", "conv", ("x",), TensorType((1, 4, 8, 8)), CONV, slots, Span("a.net", 3, 5), (("b", Span("a.net", 9, 1)),)
    )
    r = Node("r", "relu", ("c",), TensorType((1, 4, 8, 8)))
    return Graph("g", (x, c, r), ("r",), {"c.weight": Constant((4, 3, 3, 3)), "c.bias": Constant((4,))})


def changed(name: str, /, **changes) -> Graph:
    g = good()
    return Graph(g.name, tuple(n.with_(**changes) if n.name == name else n for n in g.nodes), g.outputs, g.constants)


def refused(graph: Graph) -> str:
    with pytest.raises(ops.VerifyError) as caught:
        ops.verify(graph)
    return caught.value.message


def test_good_graph():
    ops.verify(good())
    ops.verify(changed("r", type=TensorType((1, 4, 8, 8), block=16)))
    ops.verify(changed("r", op="relayout", type=TensorType((1, 4, 8, 8), block=8)))


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("r", {"name": "c"}, "node 'c' (relu): names: another node has this name"),
        ("r", {"inputs": ("y",)}, "node 'r' (relu): order: reads 'y', which is not computed before it"),
        ("c", {"inputs": ("r",)}, "node 'c' (conv): order: reads 'r', which is not computed before it"),
        ("r", {"op": "rlu"}, "node 'r' (rlu): op: unknown op 'rlu'"),
        ("r", {"attrs": {"slope": 1}}, "node 'r' (relu): attributes: unknown slope"),
        ("r", {"op": "leaky_relu"}, "node 'r' (leaky_relu): attributes: missing slope"),
        ("r", {"op": "leaky_relu", "attrs": {"s": 1}}, "node 'r' (leaky_relu): attributes: unknown s; missing slope"),
        ("r", {"inputs": ("c", "c")}, "node 'r' (relu): arity: takes 1 input, got 2"),
        ("c", {"attrs": {**CONV, "epilogue": (("add", ()),)}}, "node 'c' (conv): arity: takes 1 input, got 0"),
        ("c", {"attrs": {**CONV, "kernel": (11, 1)}}, "node 'c' (conv): shape: window 11 does not fit height 8 with"),
        ("r", {"type": TensorType((1, 5, 8, 8))}, "node 'r' (relu): type: is 1x5x8x8, the op gives 1x4x8x8"),
        ("r", {"type": TensorType((1, 4, 8, 8), 0)}, "node 'r' (relu): layout: channel block 0 on a tensor of rank 4"),
        ("r", {"op": "flatten", "type": TensorType((1, 256), 8)}, "node 'r' (flatten): layout: channel block 8 on"),
        ("r", {"type": TensorType((1, 4, 8, 8), 1, INT8)},
         "node 'r' (relu): type: is 1x4x8x8 int8, the op gives 1x4x8x8"),
        ("x", {"type": TensorType(SHAPE, 1, INT8)}, "node 'x' (input): type: is 1x3x8x8 int8, the op gives 1x3x8x8"),
        ("r", {"op": "quantize", "attrs": {"element": "int8", "scale": 0.5, "zero": 0},
               "type": TensorType((1, 4, 8, 8), 4, INT8, Quantization(0.25))},
         "node 'r' (quantize): type: is 1x4x8x8:c4 int8 scale 0.25 zero 0, the op gives 1x4x8x8 int8 scale 0.5 zero 0"),
        ("c", {"weights": {"weight": "c.weight"}}, "node 'c' (conv): weights: slots weight, expected weight, bias"),
        ("r", {"weights": {"w": "c.bias"}}, "node 'r' (relu): weights: slots w, expected none"),
        ("c", {"weights": {"weight": "c.weight", "bias": "b"}}, "node 'c' (conv): weights: bias is 'b', which is no c"),
        ("c", {"weights": {"weight": "c.weight", "bias": "c.weight"}},
         "node 'c' (conv): weights: c.weight is (4, 3, 3, 3), the op needs (4,)"),
    ],
)  # fmt: skip
def test_every_rule_can_fail(name, changes, text):
    assert refused(changed(name, **changes)).startswith(f"internal error, {text}")


def test_constants_have_the_element_that_the_op_says():
    g = good()
    wrong = {**g.constants, "c.bias": Constant((4,), element=INT8)}
    text = "internal error, node 'c' (conv): weights: c.bias is int8, the op needs float32"
    assert refused(Graph("g", g.nodes, g.outputs, wrong)) == text
    kind = TensorType((1, 4), element=INT8)
    const = Node("k", "const", (), kind, ops.complete("const", {"dims": (4,), "element": "int8"}), {"value": "v"})
    ops.verify(Graph("g", (const,), ("k",), {"v": Constant((1, 4), element=INT8)}))
    text = "internal error, node 'k' (const): weights: v is float32, the op needs int8"
    assert refused(Graph("g", (const,), ("k",), {"v": Constant((1, 4))})) == text


def test_a_consumer_of_what_it_does_not_take_is_refused():
    g = changed("c", type=TensorType((1, 4, 8, 8)))
    steps = Node("q", "cast", ("c",), TensorType((1, 4, 8, 8), element=INT8), {"to": "int8"})
    nodes = (*g.nodes[:2], steps, g.nodes[2].with_(inputs=("q",)))
    assert refused(Graph("g", nodes, ("r",), g.constants)).endswith("node 'r' (relu): shape: takes float32, got int8")


def test_outputs():
    g = good()
    assert refused(Graph("g", g.nodes, (), g.constants)) == "internal error, graph 'g': outputs: has none"
    assert refused(Graph("g", g.nodes, ("y",), g.constants)) == "internal error, graph 'g': outputs: 'y' is no node"


def test_error_has_place_and_rule():
    with pytest.raises(CnnccError) as caught:
        ops.verify(changed("c", op="cnv"))
    assert isinstance(caught.value, ops.VerifyError)
    assert caught.value.rule == "op"
    assert (
        str(caught.value) == "a.net:3:5: internal error, node 'c' (cnv): op: unknown op 'cnv'\n  in b, from a.net:9:1"
    )
