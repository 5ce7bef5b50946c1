"""The official node tests of the package onnx, of all ops that convolutional networks are made of."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

pytest.importorskip("onnx")
with warnings.catch_warnings():  # making the expected values divides by zero
    warnings.simplefilter("ignore")
    from onnx.backend.test.loader import load_model_tests
    from onnx.backend.test.runner import Runner

    EVERY = load_model_tests(kind="node")

from onnx import TensorProto, helper, numpy_helper

import cnncc.contrib.onnx_backend as backend

E5M2 = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E5M2)
CNN_OPS = frozenset(
    """
    Conv ConvTranspose MaxPool AveragePool GlobalAveragePool GlobalMaxPool Gemm MatMul Pad
    BatchNormalization InstanceNormalization GroupNormalization LayerNormalization LRN Dropout
    Relu LeakyRelu PRelu Elu Selu Celu ThresholdedRelu Sigmoid HardSigmoid HardSwish Swish Tanh Softplus Softsign Mish
    Gelu Clip Erf Exp Log Sqrt Reciprocal Abs Neg Pow Softmax LogSoftmax
    Add Sub Mul Div Mod Max Min Sum Mean
    Floor Ceil Round Sign Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Shrink
    Greater GreaterOrEqual Less LessOrEqual Equal Not And Or Xor Where IsNaN IsInf BitShift Cast CastLike
    CumSum Hardmax Trilu MeanVarianceNormalization LpNormalization
    Concat Split Slice Gather Reshape Flatten Squeeze Unsqueeze Transpose Expand Tile DepthToSpace SpaceToDepth Identity
    ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare ReduceProd ReduceLogSum ReduceLogSumExp
    ArgMax ArgMin TopK Resize Upsample CenterCropPad Col2Im LpPool MaxUnpool
    GridSample AffineGrid DeformConv RoiAlign NonMaxSuppression
    GatherElements GatherND ScatterND ScatterElements Scatter OneHot ReverseSequence Compress
    QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger
    Constant Shape OptionalGetElement
    """.split()
)
"""Cases of these ops alone are counted."""
NOTHING = {"Constant", "Shape"}
"""Ops that are known when compiling: cases of them alone compute nothing, so they are not counted."""
NOT_PASSED = {
    "test_batchnorm_epsilon_training_mode": "training",
    "test_batchnorm_example_training_mode": "training",
    "test_training_dropout_default": "training",
    "test_training_dropout_mask": "training",
    "test_col2im_5d": "along three axes",
    "test_maxunpool_export_with_output_shape": "places that count in a smaller tensor than the result",
    "test_not_": "a model of opset 1",
    "test_identity_opt": "no tensor",
    "test_optional_get_element_optional": "no tensor",
    "test_optional_get_element_sequence": "no tensor",
    "test_identity_sequence": "no tensor",
    "quantizelinear_blocked": "quantisation in blocks along an axis",
    "test_dynamicquantizelinear_expanded": "a QuantizeLinear whose scale is computed",
    "adjusted_expanded": "a QuantizeLinear whose scale is computed",
}
"""Parts of names of cases that do not pass, and what they ask for."""


def counts(case: Any) -> bool:
    """Whether a case is of these ops, and something is computed in it: with empty tensors the result is known without
    a module, and onnx would be compared with itself. Nor are texts counted, or numbers of 8 bits and fewer that have
    no NumPy type: those are for storing weights."""
    tensors = [t for sets in case.data_sets for side in sets for t in arrays(side) if hasattr(t, "dtype")]
    trivial = any(t.size == 0 or t.dtype.kind not in "fiub" or t.dtype == E5M2 for t in tensors)
    used = {n.op_type if not n.domain else "another domain's" for n in case.model.graph.node}
    return used <= CNN_OPS and bool(used - NOTHING) and not trivial


def arrays(items: list[Any]) -> list[Any]:
    return [numpy_helper.to_array(item) if isinstance(item, TensorProto) else item for item in items]


CASES = {c.name: c for c in EVERY if counts(c)}
LEAST = 0.95
"""Share of the cases that has to pass."""


def reason_for(name: str) -> str | None:
    """Why a case does not pass; None if it does."""
    if name == "test_training_dropout":
        return "training"
    return next((why for part, why in NOT_PASSED.items() if part in name), None)


LONG = ("attention", "nllloss", "sce_", "rotary", "causal_conv")
"""Parts of names of cases that are functions of many ops: these have cases of their own."""


def marked(name: str) -> Any:
    """The case; one that is known not to pass is expected to fail, and the test fails should it pass."""
    reason = reason_for(name)
    marks = [pytest.mark.xfail(reason=reason)] if reason else []
    marks += [pytest.mark.slow] if any(part in name for part in LONG) else []
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", list(map(marked, CASES)))
def test_node(name: str) -> None:
    """Compared as onnx's own runner does."""
    case = CASES[name]
    prepared = backend.prepare(case.model)
    for inputs, expected in case.data_sets:
        got = prepared.run(arrays(inputs))
        Runner.assert_similar_outputs(arrays(expected), got, rtol=case.rtol, atol=case.atol)
        assert prepared.compiled is not None
        assert prepared.compiled.model is not None, "nothing was compiled"


def test_most_pass() -> None:
    """The figure of the README; `test_node` shows that the others do pass."""
    failing = [name for name in CASES if reason_for(name)]
    assert len(CASES) > 500
    assert 1 - len(failing) / len(CASES) >= LEAST, f"{len(CASES) - len(failing)} of {len(CASES)}"


def test_every_op_has_cases() -> None:
    tested = {n.op_type for c in CASES.values() for n in c.model.graph.node}
    assert tested == CNN_OPS
