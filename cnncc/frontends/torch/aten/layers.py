"""Norms, products of matrices, attention, softmax."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cnncc.frontends.onnx.convert.dense import product, swapped
from cnncc.frontends.onnx.site import Tensor
from cnncc.frontends.onnx.values import Unsupported
from cnncc.frontends.torch.call import AtenCall, AtenRule

# Norms


def batch_norm(call: AtenCall) -> list[Tensor]:
    """With fixed statistics; scale and shift may be left out. By the statistics of one image it is an instance norm."""
    scale, shift = weights(call, call.shape("input")[1])
    if call["training"] or call["running_mean"] is None:
        if call.shape("input")[0] > 1 or call["running_mean"] is not None:
            raise Unsupported("batch norm by the statistics of its input")
        return [call.onnx("InstanceNormalization", "input", scale, shift, epsilon=call["eps"])]
    return [call.onnx("BatchNormalization", "input", scale, shift, "running_mean", "running_var", epsilon=call["eps"])]


def weights(call: AtenCall, count: int) -> tuple[str | np.ndarray, str | np.ndarray]:
    """Scale and shift, ones and zeros where there are none."""
    scale = "weight" if call["weight"] is not None else np.ones(count, np.float32)
    return scale, "bias" if call["bias"] is not None else np.zeros(count, np.float32)


def layer_norm(call: AtenCall) -> list[Tensor]:
    axis = -len(call["normalized_shape"])
    return call.several("LayerNormalization", 3, "input", "weight", "bias", axis=axis, epsilon=call["eps"])


def rms_norm(call: AtenCall) -> Tensor:
    axes = tuple(call["normalized_shape"])
    scale = "weight" if call["weight"] is not None else np.ones(axes, np.float32)
    eps = call.float_of("eps", float(np.finfo(np.float32).eps))
    return call.onnx("RMSNormalization", "input", scale, axis=-len(axes), epsilon=eps)


def group_norm(call: AtenCall) -> list[Tensor]:
    groups = call["num_groups"] if "num_groups" in call.given else call["group"]
    scale, shift = weights(call, call.shape("input")[1])
    return [call.onnx("GroupNormalization", "input", scale, shift, num_groups=groups, epsilon=call["eps"])]


def instance_norm(call: AtenCall) -> list[Tensor]:
    """By the statistics of each channel, or by fixed ones."""
    if not call["use_input_stats"]:
        return batch_norm(call)
    scale, shift = weights(call, call.shape("input")[1])
    return [call.onnx("InstanceNormalization", "input", scale, shift, epsilon=call["eps"])]


# Products


def linear(call: AtenCall) -> Tensor:
    """x W^T + b"""
    if len(call.shape("input")) == 2:
        return call.onnx("Gemm", "input", "weight", "bias", transB=1)
    turned = swapped(call["weight"]) if len(call.shape("weight")) == 2 else call["weight"]
    made = product(call.site("MatMul", "input", "weight"), call["input"], turned)
    return made if call["bias"] is None else call.onnx("Add", made, "bias")


def matmul(*names: str) -> AtenRule:
    return lambda call: call.onnx("MatMul", *names)


def added_product(call: AtenCall) -> Tensor:
    """beta self + alpha mat1 mat2"""
    alpha, beta = call.float_of("alpha", 1.0), call.float_of("beta", 1.0)
    return call.onnx("Gemm", "mat1", "mat2", "self", alpha=alpha, beta=beta)


def added_batches(call: AtenCall) -> Tensor:
    """The same of batches of matrices."""
    alpha, beta = call.float_of("alpha", 1.0), call.float_of("beta", 1.0)
    product = call.onnx("MatMul", "batch1", "batch2")
    product = product if alpha == 1 else call.onnx("Mul", product, alpha)
    return call.onnx("Add", product, "self" if beta == 1 else call.onnx("Mul", "self", beta))


# Attention


def attention(call: AtenCall) -> Tensor:
    """softmax(scale q k^T + mask) v"""
    if call["dropout_p"]:
        raise Unsupported("dropout in training")
    call.only("enable_gqa", None, False)
    q, k, v = (call.tensor(call[name]) for name in ("query", "key", "value"))
    assert q is not None
    assert k is not None
    scale = call.float_of("scale", 1 / math.sqrt(q.shape[-1]))
    scores = call.onnx("Mul", call.onnx("MatMul", q, swapped(k)), scale)
    if call["is_causal"]:
        rows, columns = q.shape[-2], k.shape[-2]
        scores = call.onnx("Add", scores, np.where(np.tri(rows, columns), 0, LEAST).astype(np.float32))
    if call["attn_mask"] is not None:
        scores = masked(call, scores)
    return call.onnx("MatMul", call.onnx("Softmax", scores, axis=-1), v)


LEAST = -1e30
"""What hides a place: its share is 0 in float32."""


def masked(call: AtenCall, scores: Tensor) -> Tensor:
    """Scores with a mask of numbers added, or hidden where a mask of truth values is false."""
    mask = call["attn_mask"]
    if call.kinds["attn_mask"].kind != "b":
        return call.onnx("Add", scores, mask)
    if isinstance(mask, np.ndarray):
        return call.onnx("Add", scores, np.where(mask, 0, LEAST).astype(np.float32))
    return call.onnx("Where", mask, scores, np.array(LEAST, np.float32))


def softmax(op: str) -> AtenRule:
    return lambda call: call.onnx(op, "self", axis=call["dim"])


RULES: Mapping[str, AtenRule] = {
    "aten.batch_norm": batch_norm,
    "aten._native_batch_norm_legit": batch_norm,
    "aten._native_batch_norm_legit_no_training": batch_norm,
    "aten.layer_norm": layer_norm,
    "aten.native_layer_norm": layer_norm,
    "aten.rms_norm": rms_norm,
    "aten.group_norm": group_norm,
    "aten.native_group_norm": group_norm,
    "aten.instance_norm": instance_norm,
    "aten.linear": linear,
    "aten.matmul": matmul("self", "other"),
    "aten.mm": matmul("self", "mat2"),
    "aten.bmm": matmul("self", "mat2"),
    "aten.mv": matmul("self", "vec"),
    "aten.addmm": added_product,
    "aten.baddbmm": added_batches,
    "aten.scaled_dot_product_attention": attention,
    "aten.softmax": softmax("Softmax"),
    "aten._softmax": softmax("Softmax"),
    "aten.log_softmax": softmax("LogSoftmax"),
    "aten._log_softmax": softmax("LogSoftmax"),
}
