"""Exported ONNX models: valid, and ONNX Runtime computes with them what our reference computes."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import LATE_OPS, graphs
from hypothesis import assume, given, settings

from cnncc import lang, passes, weights
from cnncc.base import extras, resources
from cnncc.base.elements import drawn
from cnncc.base.errors import CnnccError
from cnncc.frontends.onnx.export import to_onnx, write_onnx
from cnncc.frontends.onnx.origin import original
from cnncc.frontends.onnx.reader import from_onnx
from cnncc.frontends.onnx.write_rules import RULES
from cnncc.ir import Constant, Graph, Node
from cnncc.ops import TABLE, reference
from cnncc.ops.source import port_type

ERROR = 1e-5
"""Largest allowed difference, as a share of the largest output of the float64 reference."""
IMAGE = "input 4x9x11\n"
WINDOWS = "input 2x10x7\n"
GRID = "affine scale 0.4; conv 1x1 2 tanh"
REGIONS = "conv 1x1 4 nobias; abs; affine scale 2; crop 0,0 1x4"
INDICES = "conv 1x1 4 nobias; topk 4 indices"
PLACES = {
    "sample": IMAGE + f"sample {{ | {GRID} }}",
    "sample, cubic, border": IMAGE + f"sample {{ | {GRID}; crop 1,0 7x11 }} cubic border",
    "sample, reflection": IMAGE + f"sample {{ | {GRID}; affine scale 2 }} reflection align_corners",
    "sample in pixels": IMAGE + "sample { | conv 1x1 2 sigmoid; affine scale 11 } pixels",
    "gather": IMAGE + f"gather {{ | {INDICES}; crop 0,0 5x1 }}",
    "gather by two numbers": IMAGE + f"gather {{ | {INDICES}; affine scale 0.7; crop 0,0 5x2 }} sizes 3x3",
    "scatter": IMAGE + f"scatter {{ | {INDICES}; crop 0,0 1x1 | crop 0,0 1x11 }}",
    "scatter add": IMAGE + f"scatter {{ | {INDICES}; affine scale 0.7; crop 0,0 5x2 | crop 0,0 5x11 }} sizes 3x3 add",
    "unpool": IMAGE + "unpool { maxpool 2x2 /2 | argmaxpool 2x2 /2 } 9x11",
    "argmaxpool": IMAGE + "argmaxpool 3x2 /2 pad 1,0,1,1 dil 1",
    "roi_align": IMAGE + f"roi_align {{ | {REGIONS} }} 2x3 scale 0.5 samples 2",
    "roi_align max": IMAGE + f"roi_align {{ | {REGIONS} }} 2x3 max output_half_pixel",
    "roi_align of two images": IMAGE
    + f"roi_align {{ | {REGIONS} | {INDICES}; affine scale 0.4; crop 0,0 1x1 }} 2x2 images 2 samples 2",
    "lrn of even size": IMAGE + "lrn size 4 alpha 0.5",
    "resize of a region": IMAGE + "resize 5x6 linear tf_crop_and_resize region (0.1, -0.2, 0.9, 1.3)",
}
"""Ops at computed places; of `nms`, whose boxes are one result for a batch, see `test_export_places.py`."""
TO = "to int8 scale 0.5 zero 3"
ON_BYTES = {
    "qconv": f"qconv 3x2 6 /2x1 pad 0,1,2,3 dil 1x2 groups 2 {TO}",
    "qconv of numbers": "qconv 3x3 6 nobias",
    "qconv and bounds": f"qconv 3x3 6 {TO} relu; qconv 1x1 6 {TO} relu6 clip low 1 high 4",
    "qconv with a sum": f"save r; qconv 1x1 4 {TO}; qconv {{ | from r }} 3x3 4 {TO} relu",
    "qconv_transpose": f"qupconv 3x2 6 /2x1 pad 0,1,1,0 {TO}",
    "qconv_transpose in groups": f"qupconv 2x2 6 /2 outpad 1 groups 2 {TO} relu",
    "qconv_transpose with a sum": f"save r; qconv 1x1 4 {TO}; qupconv {{ | from r }} 3x3 4 pad 1 {TO}",
    "qfc": f"qfc 5 {TO}",
    "qfc of a vector": "flatten; qfc 5 nobias",
    "qadd": f"qadd {{ | qconv 1x1 4 {TO} }} to int8 scale 0.25 zero -2 relu; relu",
    "qgap": "qgap to int8 scale 0.003 zero 9",
    "qgap of numbers": "qgap",
    "qmul": "save x\nqgap; sigmoid; save f\nqmul { from x | from f } to int8 scale 0.02 zero 1",
    "bounds of bytes": "relu; clip low -1 high 0.5; maxpool 2x2",
}
"""Of int8, since some runtimes saturate sums of uint8 with large weights."""
CASES = {
    "layernorm": "input 5x3x4\nlayernorm eps 1e-3",
    "layernorm vector": "input 5x3x4\ngap; flatten; layernorm noaffine",
    "layernorm nobias": "input 5x3x4\nlayernorm nobias",
    "rmsnorm": "input 5x3x4\nrmsnorm; rmsnorm noaffine",
    "channel pools": "input 5x3x4\nsave x\nadd { channel_mean | from x; channel_max | from x; channel_sum | from x }",
    "grn": "input 5x3x4\ngrn",
    "grn vector": "input 5x3x4\ngap; flatten; grn eps 0.1",
    "scale": "input 5x3x4\nrelu; scale; relu; scale bias",
    "input with mean and std": "input 3x5x6 mean (1,2,3) std (2,3,0.5)\nrelu",
    "input with one mean": "input 3x5x6 mean (1.5)\nrelu",
    "input vector with std": "input 5 std (1,2,3,4,5)\nrelu",
    "quantize": IMAGE + "quantize uint8 0.02 128; maxpool 2x2; pad 1 value -1; slice 0:2; dequantize",
    "quantize to int8": IMAGE + "quantize int8 0.031 -5; flatten; dequantize",
    **{name: f"{IMAGE}quantize int8 0.031 -5; {steps}" for name, steps in ON_BYTES.items()},
    "cast": IMAGE + "affine scale 100; cast uint8; cast int32; cast int8; cast float32",
    "cast to float16": IMAGE + "cast float16; cast float32",
    "input of bytes": "input 3x5x6 uint8 mean (100) std (50)\nrelu",
    "output of bytes": "input 3x5x6 uint8\nquantize int8 2 -3",
    "const of bytes": "input a 3x5x6\nb: cast int8\nc: const 2x5x6 int8\nconcat { from b | from c }\ncast float32",
    "input is an output": "input a 3x5x6\noutput\nrelu\noutput",
    "input with mean is an output": "input a 3x5x6 mean (1,2,3)\noutput\nrelu\noutput",
    "several inputs and outputs": "input a 3x5x6\ninput b 3x5x6\nadd { from a | from b }\noutput\nrelu\noutput",
    "const": IMAGE + "add { | const 4x9x11 }",
    "const per channel": IMAGE + "mul { | const 4x1x1 }",
    "const is an output": IMAGE + "save x\nconst k 4x1x1\noutput\nfrom x\nrelu\noutput",
    "conv": IMAGE + "conv 3x3 6 bias relu",
    "conv without bias": IMAGE + "conv 3x3 6 nobias",
    "conv with uneven pads": IMAGE + "conv 3x2 6 /2x1 pad 0,1,2,3",
    "conv dilated": IMAGE + "conv 3x3 6 dil 2 pad 2",
    "conv grouped": IMAGE + "conv 3x3 8 groups 2",
    "conv depthwise": IMAGE + "dwconv 3x3 mult 2",
    "conv ceil": IMAGE + "conv 2x3 6 /3 pad 0 ceil",
    "conv ceil leaves pads out": IMAGE + "conv 1x1 6 pad 2 ceil",
    "conv 1x1 padded, strided": IMAGE + "conv 1x1 6 /2 pad 1",
    "upconv": IMAGE + "upconv 3x3 6 /2 pad 1 outpad 1",
    "upconv grouped, dilated": IMAGE + "upconv 3x2 6 /2x3 groups 2 dil 2 pad 0,1,2,0 nobias",
    "upconv pads past the span": IMAGE + "upconv 2x2 6 pad 3,2,1,4",
    "upconv outpad past the stride": IMAGE + "upconv 3x2 6 /2x3 pad 1 outpad 4",
    "upconv outpad past the stride, within the pad": IMAGE + "upconv 3x3 6 pad 0,0,3,1 outpad 2x1",
    "fc of an image": IMAGE + "fc 5",
    "fc of a vector": "input 7\nfc 5 nobias",
    "maxpool": WINDOWS + "maxpool 3x2 /2 pad 1,0,1,1",
    "maxpool ceil": WINDOWS + "maxpool 3x3 /2 ceil",
    "maxpool ceil, last window starts in the padding": WINDOWS + "maxpool 2x2 /2 pad 1 ceil",
    "maxpool dilated": WINDOWS + "maxpool 2x2 /2 dil 2 pad 1",
    "maxpool dilated, padded by the kernel": WINDOWS + "maxpool 2x2 /2 dil 3 pad 2",
    "maxpool ceil, dilated": WINDOWS + "maxpool 3x3 /4 dil 2 ceil",
    "avgpool": WINDOWS + "avgpool 3x3 /2 pad 1",
    "avgpool countpad": WINDOWS + "avgpool 3x3 /2 pad 1,0,1,1 countpad",
    "avgpool ceil": WINDOWS + "avgpool 3x3 /2 pad 1 ceil",
    "avgpool ceil countpad": WINDOWS + "avgpool 3x3 /3 pad 1 ceil countpad",
    "avgpool ceil countpad, last window starts in the padding": WINDOWS + "avgpool 2x2 /2 pad 1 ceil countpad",
    "avgpool padded by more than it uses": WINDOWS + "avgpool 2x2 /20 pad 0,0,3,3",
    "gap": IMAGE + "gap",
    "gmp": IMAGE + "gmp",
    "gsum": IMAGE + "gsum",
    "bn": IMAGE + "bn eps 0.01",
    "bn of a vector": "input 7\nbn",
    "lrn": IMAGE + "lrn size 3 alpha 0.5 beta 0.6 k 2",
    "lrn of a vector": "input 7\nlrn size 5 alpha 0.5",
    "softmax of an image": IMAGE + "softmax",
    "softmax of a vector": "input 7\nsoftmax",
    "softmax_rows": IMAGE + "softmax_rows",
    **{op: IMAGE + op for op in ("relu", "relu6", "sigmoid", "tanh", "hard_swish", "silu", "identity", "flatten")},
    "leaky_relu": IMAGE + "leaky_relu 0.3",
    "hard_sigmoid": IMAGE + "hard_sigmoid alpha 0.3 beta 0.4",
    "hard_sigmoid by default": IMAGE + "hard_sigmoid",
    "dropout": IMAGE + "dropout 0.4",
    **{op: IMAGE + op for op in ("softplus", "softsign", "mish", "gelu", "gelu_tanh", "erf", "exp", "abs", "prelu")},
    "log, sqrt, reciprocal": IMAGE + "abs; affine scale 2 shift 0.1; log; exp; sqrt; reciprocal",
    "clip": IMAGE + "clip low -0.5 high 0.25",
    **{op: IMAGE + op for op in ("round_down", "round_up", "round_to_zero", "round")},
    **{op: IMAGE + op for op in ("sign", "sin", "cos", "tan", "atan", "sinh", "cosh", "asinh")},
    **{op: IMAGE + f"sigmoid; {op}" for op in ("asin", "acos", "atanh")},
    "acosh": IMAGE + "softplus; affine shift 1; acosh",
    "power": IMAGE + "abs; power 1.7",
    "shrink": IMAGE + "shrink shift 0.25 edge 0.75",
    **{op: IMAGE + f"{op} {{ | sigmoid }}" for op in ("div", "mod", "fmod", "greater", "greater_equal", "equal")},
    "equal to itself": IMAGE + "save x\nequal { from x | from x }",
    "pow": IMAGE + "pow { sigmoid | }",
    "where": IMAGE + "where { relu | sigmoid | gap }",
    "elu": IMAGE + "elu 0.5",
    "thresholded_relu": IMAGE + "thresholded_relu 0.5",
    "prelu of a vector": "input 7\nprelu",
    "group_norm": IMAGE + "group_norm 2 eps 0.01",
    "group_norm of a vector": "input 6\ngroup_norm 3 noaffine",
    "shuffle": IMAGE + "shuffle 2",
    "permute": IMAGE + "permute 4x9x11 axes 2,0,1 to 11x4x9",
    "transpose": IMAGE + "transpose",
    "expand": IMAGE + "gap; expand 4x3x5",
    "strided slice": IMAGE + "strided_slice 4x3x6 at 0,8,0 step 1,-3,2",
    "strided slice of a vector": "input 7\nstrided_slice 3 at 6 step -3",
    "take": IMAGE + "take 3,0,3; take 8,1 axis 1",
    "unfold": IMAGE + "unfold 3x2 /2 pad 1,2,0,1 dil 2",
    "pad wrap": IMAGE + "pad 1,2,9,0 wrap",
    "topk": IMAGE + "topk 2",
    "topk of the smallest, the last first": IMAGE + "topk 3 smallest last",
    "topk indices": IMAGE + "topk 2 indices",
    "topk indices, the last first": IMAGE + "topk 2 indices last",
    "matmul": IMAGE + "save x; permute 4x9x11 axes 0,2,1 to 4x11x9; save y; matmul { from x | from y }",
    **PLACES,
    "max and min": IMAGE + "max { relu | tanh | gap }; min { | sigmoid }",
    "resize nearest": IMAGE + "resize 5x20 round_prefer_ceil",
    "resize linear": IMAGE + "resize 5x20 linear align_corners",
    "resize linear by factors": IMAGE + "resize 13x16 linear asymmetric scale 1.5",
    "resize cubic": IMAGE + "resize 13x16 cubic exclude_outside coefficient -0.5",
    "add of two": IMAGE + "add { relu | tanh }",
    "add of one with itself": IMAGE + "save x\nadd { from x | from x }",
    "add of four, the first per channel": IMAGE + "add { gap | relu | tanh | gmp }",
    "mul of three": IMAGE + "mul { relu | gap sigmoid | tanh }",
    "mul of vectors": "input 7\nmul { relu | tanh }",
    "concat": IMAGE + "concat { conv 3x3 2 | relu | tanh }",
    "concat with a const": IMAGE + "concat { relu | const 2x9x11 }",
    "slice": IMAGE + "slice 1:3",
    "slice of a vector": "input 7\nslice 2:7",
    "crop": IMAGE + "crop 2,3 5x6",
    "flatten of a vector": "input 7\nflatten",
    "reshape": IMAGE + "reshape 2x18x11",
    "reshape to a vector": IMAGE + "reshape 396",
    "reshape of a vector": "input 12\nreshape 3x2x2",
    "upsample": IMAGE + "upsample 3",
    "upsample one axis": IMAGE + "upsample 1x2",
    "upsample bilinear": IMAGE + "upsample 2 bilinear",
    "upsample bilinear by 3 and 4": IMAGE + "upsample 3x4 bilinear",
    "upsample aligned": IMAGE + "upsample 2x3 bilinear align",
    "upsample one pixel": "input 4x1x1\nupsample 3x2 bilinear",
    "upsample one pixel aligned": "input 4x1x1\nupsample 3x2 bilinear align",
    "pad": IMAGE + "pad 0,1,2,3 value 1.5",
    "pad edge": IMAGE + "pad 0,1,2,3 edge",
    "pad reflect": IMAGE + "pad 0,1,2,3 reflect",
}
LIGHT = ("lenet5", "cifar_resnet20", "convnetjs_cifar10", "squeezenet1_1")
HEAVY = ("googlenet", "mobilenet_v1", "resnet18", "densenet121")


def bound(source: object, batch: int = 1) -> Graph:
    """A graph with weights; running statistics and biases away from the initial 0 and 1, which hide mistakes."""
    graph = weights.bind(passes.with_batch(lang.read(source), batch), seed=1)
    moved = {n: c if c.element.whole else Constant(c.shape, shaken(n, c)) for n, c in graph.constants.items()}
    return graph.rebuild(graph.nodes, constants=moved)


def shaken(name: str, constant: Constant):
    """The constant plus a little, positive where it is a variance."""
    noise = np.random.default_rng(len(name)).uniform(0.05, 0.3, constant.shape).astype(np.float32)
    return lambda: constant.compute() + noise


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a model by name, by ONNX Runtime."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def arrays(graph: Graph) -> dict[str, np.ndarray]:
    """Inputs of both signs, in the range a mean and std lead away from."""
    rng = np.random.default_rng(3)
    return {
        n.name: rng.uniform(-3, 4, n.type.shape).astype(np.float32)
        if port_type(n).is_float
        else drawn(rng, n.type.shape, port_type(n).element)
        for n in graph.inputs
    }


def agrees(graph: Graph, inputs: dict[str, np.ndarray], slack: float = 0) -> onnx.ModelProto:
    """Checks model and outputs, and returns the model; `slack` times the error of the reference in float32 is allowed
    where terms cancel."""
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    wanted, rounded = reference.run(graph, inputs), reference.run(graph, inputs, np.float32) if slack else {}
    got = run(model, {port.name: array for port, array in zip(model.graph.input, inputs.values(), strict=True)})
    assert list(got) == list(graph.outputs)
    for name, value in wanted.items():
        assert got[name].shape == value.shape, name
        difference = np.abs(got[name] - value.astype(np.float64)).max()
        allowed = ERROR * np.abs(value).max() + (slack * np.abs(rounded[name] - value).max() if slack else 0)
        assert difference <= allowed, f"{name}: {difference}"
    return model


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_each_op_and_attribute(case, batch):
    graph = bound(f"net t\n{CASES[case]}\n", batch)
    agrees(graph, arrays(graph))


@pytest.mark.parametrize("case", ON_BYTES)
def test_layers_on_bytes_are_read_back(case):
    """With the text of the network the very same graph; without it, of the nodes alone, one with the same bytes."""
    graph = bound(f"net t\n{CASES[case]}\n")
    model, inputs = to_onnx(graph), arrays(graph)
    known = original(model)
    assert known is not None
    assert known[1] == graph
    for name, constant in graph.constants.items():
        again = known[1].constants[name]
        assert (again.element, again.compute().tolist()) == (constant.element, constant.compute().tolist())
    del model.metadata_props[:]
    imported = from_onnx(model, strict=True)
    fed = dict(zip((n.name for n in imported.graph.inputs), inputs.values(), strict=True))
    (want,), (got,) = (reference.run(g, x, np.float32).values() for g, x in ((graph, inputs), (imported.graph, fed)))
    np.testing.assert_array_equal(got, want)
    ops = [[n.op for n in g.nodes if n.op.startswith("q")] for g in (graph, imported.graph)]
    assert ops[0] == ops[1]


@pytest.mark.parametrize("case", ["qconv and bounds", "qconv with a sum", "qadd", "qmul", "qfc"])
def test_openvino_runs_layers_on_bytes(case, tmp_path):
    openvino = pytest.importorskip("openvino")
    graph = bound(f"net t\n{CASES[case]}\n")
    write_onnx(graph, tmp_path / "t.onnx")
    core, inputs = openvino.Core(), arrays(graph)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    got = core.compile_model(core.read_model(tmp_path / "t.onnx"), "CPU", settings)(list(inputs.values()))[0]
    (want,) = reference.run(graph, inputs, np.float32).values()
    step = graph[graph.outputs[0]].type.quantization
    assert np.abs(got.astype(np.float64) - want).max() <= (1 if step else 1e-5)


def test_the_cases_have_every_op():
    assert RULES.keys() - {"spread"} == TABLE.keys() - LATE_OPS, "tests/test_op_tables.py says what to do"
    made = {n.op for text in CASES.values() for n in lang.read(f"net t\n{text}\n").nodes}
    untold = RULES.keys() - {"nms", "spread"} - made
    assert untold == set(), "add a text with each to CASES of this file"


def is_newer(node: Node) -> bool:
    """Whether ONNX says it in newer opsets than we write."""
    return node.attrs.get("reduction") in ("max", "min") or bool(node.attrs.get("antialias"))


def test_what_is_of_a_newer_opset_is_refused():
    with pytest.raises(CnnccError, match="resize with antialias"):
        to_onnx(bound("net t\ninput 3x8x8\nresize 5x6 linear antialias\n"))


@given(graphs())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_random_graphs(graph):
    assume(not any(is_newer(n) for n in graph.nodes))
    assume(all(n.type.is_float for n in graph.nodes))  # ONNX Runtime moves few types of integers
    full = weights.bind(graph, seed=2)
    agrees(full, arrays(full), slack=20)


@pytest.mark.parametrize("name", [*LIGHT, *(pytest.param(n, marks=pytest.mark.slow) for n in HEAVY)])
def test_the_zoo(name):
    graph = weights.bind(lang.read(resources.directory("models") / f"{name}.net"), seed=0)
    rng = np.random.default_rng(0)
    agrees(graph, {n.name: rng.uniform(0, 255, n.type.shape).astype(np.float32) for n in graph.inputs})


def test_names_are_those_of_the_graph():
    graph = bound("net t\ninput image 3x8x8\nstem: conv 3x3 4 bn relu\nhead: fc 2\n")
    model = to_onnx(graph)
    assert [n.name for n in model.graph.node if ":" not in n.name] == [n.name for n in graph.nodes[1:]]
    assert [n.output[0] for n in model.graph.node] == [n.name for n in model.graph.node]
    assert [t.name for t in model.graph.initializer] == list(graph.constants)
    assert [p.name for p in model.graph.input] == ["image"]
    assert [p.name for p in model.graph.output] == list(graph.outputs)
    assert (model.graph.name, model.producer_name) == ("t", "cnncc")


def test_a_name_of_our_own_gives_way_to_those_of_the_graph():
    graph = bound('net t\ninput 3x4x4\n"a": silu\n"a:sigmoid": relu\n"a.min": relu6\n"a.min.min": relu\n')
    names = [n.name for n in agrees(graph, arrays(graph)).graph.node]
    assert names == ["a:sigmoid:", "a", "a:sigmoid", "a.min", "a.min.min"]


def test_a_shared_weight_is_stored_once():
    graph = bound("net t\ninput 3x4x4\na: bn\nb: bn\n")
    shared = graph["b"].with_(weights=graph["a"].weights)
    graph = graph.rebuild([*graph.nodes[:2], shared])
    assert len(agrees(graph, arrays(graph)).graph.initializer) == 4


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    for name in "ab":
        write_onnx(bound(f"net t\n{CASES['bn']}\n"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_layers_on_bfloat16_are_refused_at_their_place():
    with pytest.raises(CnnccError, match=r":5:1: the operator set that we write has no relu on bfloat16\n"):
        to_onnx(bound(f"net t\n{IMAGE}cast bfloat16\nmaxpool 2x2\nrelu\n"))


def test_an_op_without_a_rule_is_refused_at_its_place(monkeypatch):
    monkeypatch.delitem(RULES, "lrn")
    with pytest.raises(CnnccError, match=r"nothing says what lrn is in ONNX") as refused:
        to_onnx(bound(f"net t\n{CASES['lrn']}\n"))
    assert (refused.value.span.line, "WRITTEN" in refused.value.hint) == (3, True)


def test_too_many_weights_are_refused_before_any_is_computed(tmp_path):
    graph = weights.bind(lang.read("net wide\ninput 30000\nfc 20000\n"))
    with pytest.raises(CnnccError, match=r"wide has 2\.2 GiB of weights: an ONNX file holds less than 2 GiB"):
        write_onnx(graph, tmp_path / "wide.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CnnccError, match="ONNX needs the package onnx") as caught:
        to_onnx(bound(f"net t\n{CASES['bn']}\n"))
    assert caught.value.hint == extras.install("compiler")


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CnnccError, match=r"cannot write .*nowhere.x\.onnx: No such file or directory"):
        write_onnx(bound(f"net t\n{CASES['bn']}\n"), tmp_path / "nowhere" / "x.onnx")
