"""A small module for each op of PyTorch that has a rule: by name, a function of tensors and the shapes of these."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGE = (1, 4, 9, 7)
ROWS = (1, 5, 6)
Case = tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]


@cache
def weight(*shape: int) -> Tensor:
    """The same numbers each time."""
    return (torch.arange(math.prod(shape)) * 1.7 + 1).sin().reshape(shape) * 1.3


def of_image(function: Callable[..., Any], *more: tuple[int, ...]) -> Case:
    return function, (IMAGE, *more)


def of_rows(function: Callable[..., Any], *more: tuple[int, ...]) -> Case:
    return function, (ROWS, *more)


def after(change: Callable[[Tensor], Tensor], name: str) -> Callable[[Tensor], Tensor]:
    """A function of torch, of a tensor that it is made for."""
    return lambda x: getattr(torch, name)(change(x))


def beside(name: str, number: float) -> Callable[[Tensor], Tensor]:
    """A function of torch, of a tensor and a number."""
    return lambda x: getattr(torch, name)(x, number)


CONVOLUTIONS: dict[str, Case] = {
    "conv1d": (lambda x: F.conv1d(x, weight(6, 5, 3), weight(6), 2, 1), (ROWS,)),
    "conv2d": of_image(lambda x: F.conv2d(x, weight(6, 2, 3, 3), weight(6), (2, 1), (1, 0), (1, 2), 2)),
    "conv2d of one image": (lambda x: F.conv2d(x, weight(6, 4, 3, 3)), (IMAGE[1:],)),
    "conv2d same": of_image(lambda x: F.conv2d(x, weight(6, 4, 2, 4), padding="same")),
    "conv2d valid": of_image(lambda x: F.conv2d(x, weight(6, 4, 3, 3), padding="valid")),
    "conv3d": (lambda x: F.conv3d(x, weight(6, 4, 2, 3, 3), weight(6), padding=1), ((1, 4, 5, 6, 7),)),
    "conv_transpose1d": (lambda x: F.conv_transpose1d(x, weight(5, 6, 3), stride=2), (ROWS,)),
    "conv_transpose2d": of_image(lambda x: F.conv_transpose2d(x, weight(4, 3, 3, 3), weight(6), 2, 1, 1, 2)),
    "conv_transpose3d": (lambda x: F.conv_transpose3d(x, weight(4, 3, 2, 3, 3), stride=2), ((1, 4, 3, 4, 5),)),
    "deep": of_image(lambda x: F.relu(F.conv2d(F.relu(F.conv2d(x, weight(8, 4, 3, 3))), weight(5, 8, 1, 1)))),
    "unfold": of_image(lambda x: F.unfold(x, (3, 2), padding=1, stride=2)),
}
POOLS: dict[str, Case] = {
    "max_pool1d": of_rows(lambda x: F.max_pool1d(x, 2)),
    "max_pool2d": of_image(lambda x: F.max_pool2d(x, 3, 2, 1)),
    "max_pool2d dilated": of_image(lambda x: F.max_pool2d(x, 3, 1, 1, 2)),
    "max_pool2d ceil": of_image(lambda x: F.max_pool2d(x, 2, 2, ceil_mode=True)),
    "max_pool2d ceil with border": of_image(lambda x: F.max_pool2d(x, 3, 4, 1, ceil_mode=True)),
    "max_pool2d places": of_image(lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)),
    "max_pool3d": (lambda x: F.max_pool3d(x, 2), ((1, 4, 5, 6, 7),)),
    "avg_pool1d": of_rows(lambda x: F.avg_pool1d(x, 3, 1, 1)),
    "avg_pool2d": of_image(lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "avg_pool2d without border": of_image(lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
    "avg_pool2d ceil": of_image(lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True)),
    "avg_pool2d ceil with border": of_image(lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True)),
    "avg_pool3d": (lambda x: F.avg_pool3d(x, 2), ((1, 4, 5, 6, 7),)),
    "adaptive_avg_pool1d": of_rows(lambda x: F.adaptive_avg_pool1d(x, 2)),
    "adaptive_avg_pool2d to one": of_image(lambda x: F.adaptive_avg_pool2d(x, 1)),
    "adaptive_avg_pool2d in windows": of_image(lambda x: F.adaptive_avg_pool2d(x, (3, 7))),
    "adaptive_avg_pool2d by a matrix": of_image(lambda x: F.adaptive_avg_pool2d(x, (4, 5))),
    "adaptive_avg_pool2d of one axis": of_image(lambda x: F.adaptive_avg_pool2d(x, (None, 1))),
    "adaptive_max_pool2d to one": of_image(lambda x: F.adaptive_max_pool2d(x, 1)),
    "adaptive_max_pool2d in windows": of_image(lambda x: F.adaptive_max_pool2d(x, (3, 1))),
    "adaptive_avg_pool3d": ((lambda x: F.adaptive_avg_pool3d(x, (2, 3, 4))), ((1, 2, 4, 6, 5),)),
    "adaptive_max_pool1d": of_rows(lambda x: F.adaptive_max_pool1d(x, 3)),
    "adaptive_max_pool3d": ((lambda x: F.adaptive_max_pool3d(x, (2, 3, 1))), ((1, 2, 4, 6, 5),)),
    "lp_pool2d": of_image(lambda x: F.lp_pool2d(x.abs() + 1, 2, 3)),
}
BORDERS: dict[str, Case] = {
    "pad": of_image(lambda x: F.pad(x, (1, 2, 3, 0))),
    "pad with a number": of_image(lambda x: F.pad(x, (1, 2), value=2.5)),
    "pad cuts": of_image(lambda x: F.pad(x, (-1, 2, 1, -2))),
    "pad channels": of_image(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2))),
    "reflect": of_image(lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect")),
    "replicate": of_image(lambda x: F.pad(x, (1, 2, 2, 1), mode="replicate")),
    "circular": of_image(lambda x: F.pad(x, (1, 2, 2, 1), mode="circular")),
}
NORMS: dict[str, Case] = {
    "batch_norm": of_image(lambda x: F.batch_norm(x, weight(4), weight(4).exp(), weight(4), weight(4))),
    "batch_norm without weights": of_image(lambda x: F.batch_norm(x, weight(4), weight(4).exp())),
    "batch_norm of rows": of_rows(lambda x: F.batch_norm(x, weight(5), weight(5).exp(), weight(5), weight(5))),
    "layer_norm": of_rows(lambda x: F.layer_norm(x, (6,), weight(6), weight(6))),
    "layer_norm without weights": of_rows(lambda x: F.layer_norm(x, (6,))),
    "layer_norm without shift": of_rows(lambda x: F.layer_norm(x, (6,), weight(6))),
    "layer_norm of axes": of_image(lambda x: F.layer_norm(x, (9, 7), weight(9, 7), weight(9, 7))),
    "layer_norm of channels": of_image(lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,), weight(4), weight(4))),
    "rms_norm": of_rows(lambda x: F.rms_norm(x, (6,), weight(6), 1e-6)),
    "rms_norm without weights": of_rows(lambda x: F.rms_norm(x, (6,))),
    "group_norm": of_image(lambda x: F.group_norm(x, 2, weight(4), weight(4))),
    "group_norm without weights": of_image(lambda x: F.group_norm(x, 2)),
    "instance_norm": of_image(lambda x: F.instance_norm(x, weight=weight(4), bias=weight(4))),
    "local_response_norm": of_image(lambda x: F.local_response_norm(x, 3)),
    "normalize": of_image(F.normalize),
}
ACTIVATIONS: dict[str, Case] = {
    name: of_image(getattr(F, name))
    for name in """
    relu relu6 elu selu celu leaky_relu gelu silu mish hardswish hardsigmoid hardtanh hardshrink softshrink tanhshrink
    softplus softsign logsigmoid sigmoid tanh
    """.split()
} | {
    "elu with alpha": of_image(lambda x: F.elu(x, 0.5)),
    "leaky_relu with a slope": of_image(lambda x: F.leaky_relu(x, 0.3)),
    "gelu by tanh": of_image(lambda x: F.gelu(x, approximate="tanh")),
    "softplus with beta": of_image(lambda x: F.softplus(x, 2.0)),
    "hardtanh with bounds": of_image(lambda x: F.hardtanh(x, -0.5, 0.25)),
    "threshold": of_image(lambda x: F.threshold(x, 0.3, 0.0)),
    "threshold with a value": of_image(lambda x: F.threshold(x, 0.3, 7.0)),
    "prelu": of_image(lambda x: F.prelu(x, weight(4))),
    "prelu of one": of_image(lambda x: F.prelu(x, weight(1))),
    "glu": of_image(lambda x: F.glu(x, 1)),
    "softmax": of_image(lambda x: F.softmax(x, 1)),
    "softmin": of_image(lambda x: F.softmin(x, -1)),
    "log_softmax": of_image(lambda x: F.log_softmax(x, 1)),
    "dropout": of_image(lambda x: F.dropout(x, 0.3, training=False) + 1),
    "in place": of_image(lambda x: F.relu_(x + 1).mul_(2)),
}
FUNCTIONS: dict[str, Case] = (
    {
        name: of_image(getattr(torch, name))
        for name in """
    abs neg exp reciprocal sin cos tan atan sinh cosh asinh erf floor ceil round sign square trunc expm1 isnan isinf
    """.split()
    }
    | {name: of_image(after(lambda x: x.abs() + 0.5, name)) for name in "log log2 log10 log1p sqrt rsqrt".split()}
    | {
        **{name: of_image(after(lambda x: x.sigmoid() * 0.9, name)) for name in "asin acos atanh".split()},
        "acosh": of_image(lambda x: (x.abs() + 1.1).acosh()),
        "clamp": of_image(lambda x: x.clamp(-0.5, 0.7)),
        "clamp below": of_image(lambda x: x.clamp(min=0.1)),
        "clamp above": of_image(lambda x: x.clamp(max=0.1)),
        "clamp_min": of_image(lambda x: torch.clamp_min(x, 0.2)),
        "clamp_max": of_image(lambda x: torch.clamp_max(x, 0.2)),
        "clamp by tensors": of_image(lambda x, y: x.clamp(y, y + 0.5), IMAGE),
    }
)
ARITHMETIC: dict[str, Case] = {
    "add": of_image(lambda x, y: x + y, (1, 4, 1, 1)),
    "add with alpha": of_image(lambda x, y: torch.add(x, y, alpha=3), IMAGE),
    "add a number": of_image(lambda x: 2 + x),
    "add a tensor": of_image(lambda x: x + weight(7)),
    "sub": of_image(lambda x, y: x - y, IMAGE),
    "sub with alpha": of_image(lambda x: torch.sub(x, 2, alpha=0.5)),
    "rsub": of_image(lambda x: 1 - x),
    "mul": of_image(lambda x, y: x * y, (1, 1, 9, 7)),
    "div": of_image(lambda x, y: x / (y.abs() + 1), IMAGE),
    "div of a number": of_image(lambda x: 2 / (x.abs() + 1)),
    "div down": of_image(lambda x: torch.div(x, 0.3, rounding_mode="floor")),
    "div to zero": of_image(lambda x: torch.div(x, 0.3, rounding_mode="trunc")),
    "div of whole numbers": of_image(lambda x: (x * 5).long() / 2),
    "floor_divide": of_image(lambda x: x // 0.3),
    "remainder": of_image(lambda x: x % 0.7),
    "fmod": of_image(lambda x: torch.fmod(x, 0.7)),
    "pow": of_image(lambda x: x**3),
    "pow of a fraction": of_image(lambda x: x.abs() ** 1.5),
    "pow of a number": of_image(lambda x: 2**x),
    "maximum": of_image(torch.maximum, IMAGE),
    "minimum": of_image(torch.minimum, IMAGE),
    "addcmul": of_image(lambda x, y: torch.addcmul(x, y, y, value=0.5), IMAGE),
    "addcdiv": of_image(lambda x, y: torch.addcdiv(x, y, y.abs() + 1), IMAGE),
    "lerp": of_image(lambda x, y: torch.lerp(x, y, 0.3), IMAGE),
    "several sums": of_image(lambda x, y: x + y + x * y, IMAGE),
}
TRUTHS: dict[str, Case] = {name: of_image(beside(name, 0.1)) for name in "eq ne lt le gt ge".split()} | {
    "of two tensors": of_image(lambda x, y: x > y, IMAGE),
    "where": of_image(lambda x, y: torch.where(x > 0, x, y), IMAGE),
    "where a number": of_image(lambda x: torch.where(x > 0, x, 3.0)),
    "masked_fill": of_image(lambda x: x.masked_fill(x > 0.5, -1.0)),
    "logical_and": of_image(lambda x: torch.logical_and(x > 0, x < 1)),
    "logical_or": of_image(lambda x: torch.logical_or(x < 0, x > 1)),
    "logical_xor": of_image(lambda x: torch.logical_xor(x < 0, x > -1)),
    "logical_not": of_image(lambda x: torch.logical_not(x > 0)),
    "either of truths": of_image(lambda x: (x > 0) ^ (x < 1)),
    "bits of truths": of_image(lambda x: ~((x > 0) & (x < 1)) | (x > 2)),
    "and of numbers": of_image(lambda x: torch.logical_and(x.relu(), (x - 1).relu())),
    "or of numbers": of_image(lambda x: torch.logical_or(x.relu(), x > 1)),
    "not of numbers": of_image(lambda x: torch.logical_not(x.relu())),
    "any": of_image(lambda x: (x > 1).any(1)),
    "any of numbers": of_image(lambda x: (x - 1).relu().any(1)),
    "all": of_image(lambda x: (x > -1).all(1)),
}
SHAPES: dict[str, Case] = {
    "view": of_image(lambda x: x.view(1, 2, -1)),
    "reshape": of_image(lambda x: x.permute(0, 2, 3, 1).reshape(1, 63, 4)),
    "flatten": of_image(lambda x: x.flatten(2)),
    "unflatten": of_image(lambda x: x.unflatten(1, (2, 2))),
    "squeeze": (lambda x: x.squeeze(2) + 1, ((1, 4, 1, 7),)),
    "squeeze of all": (lambda x: x.squeeze() + 1, ((1, 4, 1, 7),)),
    "unsqueeze": of_image(lambda x: x.unsqueeze(-1) * 2),
    "permute": of_image(lambda x: x.permute(0, 2, 3, 1)),
    "windows along an axis": of_image(lambda x: x.unfold(2, 4, 2)),
    "windows along two axes": of_image(lambda x: x.unfold(-1, 3, 2).unfold(2, 5, 4).flatten(1, 3)),
    "windows of rows": of_rows(lambda x: x.unfold(1, 5, 1)),
    "transpose": of_image(lambda x: x.transpose(1, -1)),
    "t": ((lambda x: x.t() + 1), ((4, 5),)),
    "movedim": of_image(lambda x: x.movedim(1, -1) + 1),
    "expand": (lambda x: x.expand(1, 4, 5, 7) + 1, ((1, 4, 1, 7),)),
    "expand with an axis": (lambda x: x.expand(3, -1, -1), ((4, 7),)),
    "repeat": of_image(lambda x: x.repeat(1, 2, 1, 3)),
    "repeat with an axis": (lambda x: x.repeat(2, 1, 2), ((4, 7),)),
    "repeat_interleave": of_image(lambda x: x.repeat_interleave(2, 1)),
    "cat": of_image(lambda x, y: torch.cat([x, y, x], 1), (1, 3, 9, 7)),
    "cat of rows": of_image(lambda x, y: torch.cat([x, y], -2), (1, 4, 2, 7)),
    "stack": of_image(lambda x, y: torch.stack([x, y], 1), IMAGE),
    "slice": of_image(lambda x: x[:, 1:3, ::2, -3:]),
    "slice of all": of_image(lambda x: x[:, :, 20:].sum() + x.sum()),
    "select": of_image(lambda x: x[:, 1]),
    "select the last": of_image(lambda x: x[..., -1]),
    "narrow": of_image(lambda x: x.narrow(2, 1, 3)),
    "split": of_image(lambda x: x.split(4, 2)),
    "split in parts": of_image(lambda x: x.split([1, 3], 1)),
    "chunk": of_image(lambda x: x.chunk(2, 1)),
    "unbind": of_image(lambda x: x.unbind(1)),
    "index_select": of_image(lambda x: x.index_select(1, torch.tensor([2, 0]))),
    "index": of_image(lambda x: x[:, [0, 3, 1]]),
    "index by a tensor": (lambda x, i: x[i.long()], ((6, 3), (4,))),
    "gather": of_rows(lambda x: x.gather(2, x.argmax(2, keepdim=True))),
    "embedding": (lambda i: F.embedding(i.abs().long() % 9, weight(9, 5)), ((1, 6),)),
    "flip": of_image(lambda x: x.flip(1, 3)),
    "roll": of_image(lambda x: x.roll((1, -2), (2, 3))),
    "roll of all": of_image(lambda x: x.roll(3)),
    "pixel_shuffle": of_image(lambda x: F.pixel_shuffle(x, 2)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), ((1, 3, 4, 6),)),
    "channel_shuffle": of_image(lambda x: F.channel_shuffle(x, 2)),
    "tril": of_image(lambda x: x.tril(1)),
    "triu": of_image(lambda x: x.triu()),
    "like": of_image(lambda x: torch.full_like(x, 2.0) + torch.ones_like(x) * x + torch.zeros_like(x) + x.new_ones(7)),
    "new": of_image(lambda x: x + x.new_full((7,), 2.0) + x.new_zeros(1)),
    "alias": of_image(lambda x: torch.ops.aten.alias(x) * 2 + x.detach()),
    "written part": of_image(lambda x: written(x, (slice(None), slice(1, 3)))),
    "written place": of_image(lambda x: written(x, (slice(None), 2))),
    "einsum": of_rows(lambda x, y: torch.einsum("bij,bkj->bik", x, y), (1, 3, 6)),
    "types": of_image(lambda x: (x * 3).to(torch.int32).float() + x.double().float() + (x > 0).float()),
    "meshgrid": of_image(
        lambda x: x + torch.stack(torch.meshgrid(torch.arange(9), torch.arange(7), indexing="ij")).sum(0)
    ),
}
REDUCTIONS: dict[str, Case] = {
    "sum": of_image(lambda x: x.sum()),
    "sum of axes": of_image(lambda x: x.sum((2, 3), keepdim=True)),
    "mean": of_image(lambda x: x.mean((2, 3))),
    "mean of channels": of_image(lambda x: x.mean(1, keepdim=True)),
    "amax": of_image(lambda x: x.amax(1)),
    "amin": of_image(lambda x: x.amin((2, 3))),
    "max": of_image(lambda x: x.max()),
    "max of an axis": of_image(lambda x: x.max(1, keepdim=True)),
    "max of an axis without places": of_image(lambda x: x.max(1)[0]),
    "min of an axis": of_image(lambda x: x.min(1)),
    "argmax": of_image(lambda x: x.argmax(1)),
    "argmax of all": of_image(lambda x: x.argmax()),
    "argmin": of_image(lambda x: x.argmin(1, keepdim=True)),
    "prod": of_rows(lambda x: x.prod(1)),
    "logsumexp": of_image(lambda x: x.logsumexp(1)),
    "var": of_image(lambda x: x.var(1)),
    "var without correction": of_image(lambda x: x.var((2, 3), correction=0, keepdim=True)),
    "std": of_image(lambda x: x.std((2, 3))),
    "var_mean": of_image(lambda x: torch.var_mean(x, 1)),
    "std_mean": of_image(lambda x: torch.std_mean(x, (2, 3))),
    "norm": of_image(lambda x: x.norm(dim=1)),
    "norm of order 1": of_image(lambda x: torch.linalg.vector_norm(x, 1, dim=(2, 3))),
    "largest of sizes": of_image(lambda x: torch.linalg.vector_norm(x, float("inf"), dim=1)),
    "topk": of_rows(lambda x: x.topk(3, 2)),
    "sort": of_rows(lambda x: x.sort(2)),
    "cumsum": of_rows(lambda x: x.cumsum(2)),
}
PRODUCTS: dict[str, Case] = {
    "linear": ((lambda x: F.linear(x, weight(5, 6), weight(5))), ((1, 6),)),
    "linear of rows": of_rows(lambda x: F.linear(x, weight(5, 6), weight(5))),
    "linear without bias": of_rows(lambda x: F.linear(x, weight(5, 6))),
    "linear of pixels": of_image(
        lambda x: F.linear(x.permute(0, 2, 3, 1), weight(5, 4), weight(5)).permute(0, 3, 1, 2)
    ),
    "matmul": of_rows(lambda x, y: x @ y, (1, 6, 4)),
    "matmul of heads": ((lambda x, y: x @ y.transpose(-1, -2)), ((1, 2, 5, 6), (1, 2, 4, 6))),
    "mm": ((lambda x: torch.mm(x, weight(6, 3))), ((5, 6),)),
    "bmm": of_rows(lambda x, y: torch.bmm(x, y), (1, 6, 4)),
    "mv": ((lambda x: torch.mv(x, weight(6))), ((1, 6),)),
    "addmm": ((lambda x: torch.addmm(weight(3), x, weight(6, 3), beta=0.5, alpha=2)), ((5, 6),)),
    "baddbmm": of_rows(lambda x, y: torch.baddbmm(weight(1, 5, 4), x, y, beta=0.5, alpha=2), (1, 6, 4)),
    "attention": (
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v)),
        ((1, 2, 5, 6), (1, 2, 7, 6), (1, 2, 7, 3)),
    ),
    "attention with a scale": ((lambda q: F.scaled_dot_product_attention(q, q, q, scale=0.3)), ((1, 2, 5, 6),)),
    "causal attention": ((lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True)), ((1, 2, 5, 6),)),
    "attention with a mask": (
        (lambda q: F.scaled_dot_product_attention(q, q, q, attn_mask=weight(5, 5) > -0.5)),
        ((1, 2, 5, 6),),
    ),
    "attention with a bias": (
        (lambda q, m: F.scaled_dot_product_attention(q, q, q, attn_mask=m)),
        ((1, 2, 5, 6), (1, 1, 5, 5)),
    ),
}


def deformed(x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
    from torchvision.ops import deform_conv2d

    return deform_conv2d(x, offset, weight(5, 4, 3, 3), weight(5), mask=mask)


SIZES: dict[str, Case] = {
    "nearest": of_image(lambda x: F.interpolate(x, scale_factor=2)),
    "nearest to a size": of_image(lambda x: F.interpolate(x, (13, 5))),
    "nearest of rows": of_rows(lambda x: F.interpolate(x, 13)),
    "nearest of volumes": ((lambda x: F.interpolate(x, scale_factor=2)), ((1, 2, 3, 4, 5),)),
    "nearest exact of rows": of_rows(lambda x: F.interpolate(x, 13, mode="nearest-exact")),
    "nearest exact of volumes": ((lambda x: F.interpolate(x, (4, 5, 3), mode="nearest-exact")), ((1, 2, 3, 4, 5),)),
    "nearest exact": of_image(lambda x: F.interpolate(x, (13, 5), mode="nearest-exact")),
    "bilinear": of_image(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    "bilinear to a size": of_image(lambda x: F.interpolate(x, (13, 5), mode="bilinear")),
    "bilinear by a factor": of_image(lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear")),
    "bilinear to corners": of_image(lambda x: F.interpolate(x, (13, 5), mode="bilinear", align_corners=True)),
    "bilinear, smoothed": of_image(lambda x: F.interpolate(x, (5, 4), mode="bilinear", antialias=True)),
    "bicubic": of_image(lambda x: F.interpolate(x, (13, 5), mode="bicubic")),
    "bicubic, smoothed": of_image(lambda x: F.interpolate(x, (5, 4), mode="bicubic", antialias=True)),
    "linear": of_rows(lambda x: F.interpolate(x, 9, mode="linear")),
    "trilinear": ((lambda x: F.interpolate(x, (4, 5, 6), mode="trilinear")), ((1, 2, 3, 4, 5),)),
    "grid_sample": of_image(lambda x, g: F.grid_sample(x, g.tanh(), align_corners=False), (1, 5, 6, 2)),
    "grid_sample of borders": of_image(
        lambda x, g: F.grid_sample(x, g, padding_mode="border", align_corners=True), (1, 5, 6, 2)
    ),
    "deform_conv2d": of_image(deformed, (1, 18, 7, 5), (1, 9, 7, 5)),
    "affine_grid": ((lambda t: F.affine_grid(t, [1, 1, 4, 5], align_corners=False)), ((1, 2, 3),)),
}


def written(x: Tensor, place: Any) -> Tensor:
    """A tensor of which a part is written."""
    made = x.clone()
    made[place] = 7.0
    return made


FAMILIES = {
    "convolution": CONVOLUTIONS, "pool": POOLS, "border": BORDERS, "norm": NORMS, "activation": ACTIVATIONS,
    "function": FUNCTIONS, "arithmetic": ARITHMETIC, "truth": TRUTHS, "shape": SHAPES, "reduction": REDUCTIONS,
    "product": PRODUCTS, "size": SIZES,
}  # fmt: skip
CASES = {f"{family}: {name}": case for family, cases in FAMILIES.items() for name, case in cases.items()}
