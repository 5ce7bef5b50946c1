"""Second, independent references: plain loops over scalars, straight from the definitions."""

from __future__ import annotations

import itertools

import numpy as np


def extent(size, kernel, stride, pad, dilation, rounding):
    """Count windows by sliding one: None if there are none, or if `exact` does not end at the border."""
    (before, after), span = pad, dilation * (kernel - 1) + 1
    count, start = 0, -before
    while True:
        ends = start + span <= size + after
        starts_inside = start < size
        if not (ends or (rounding == "ceil" and starts_inside and start - stride + span < size + after)):
            break
        if rounding == "ceil" and not starts_inside:
            break
        count, start = count + 1, start + stride
    if count and rounding == "exact" and start - stride + span != size + after:
        return None
    return count or None


def result_size(x, attrs):
    top, left, bottom, right = attrs["pad"]
    dh, dw = attrs.get("dilation", (1, 1))
    (kh, kw), (sh, sw) = attrs["kernel"], attrs["stride"]
    return (
        extent(x.shape[2], kh, sh, (top, bottom), dh, attrs["rounding"]),
        extent(x.shape[3], kw, sw, (left, right), dw, attrs["rounding"]),
    )


def taps(x, attrs, oy, ox):
    """(i, j, y, x) of every tap of one window, also outside the image."""
    top, left, _, _ = attrs["pad"]
    dh, dw = attrs.get("dilation", (1, 1))
    (kh, kw), (sh, sw) = attrs["kernel"], attrs["stride"]
    for i, j in itertools.product(range(kh), range(kw)):
        yield i, j, oy * sh - top + i * dh, ox * sw - left + j * dw


def inside(x, row, col):
    return 0 <= row < x.shape[2] and 0 <= col < x.shape[3]


def conv(x, weights, attrs):
    w = weights["weight"]
    oh, ow = result_size(x, attrs)
    per_group_in, per_group_out = w.shape[1], attrs["out"] // attrs["groups"]
    y = np.zeros((x.shape[0], attrs["out"], oh, ow))
    for n, o, oy, ox in np.ndindex(*y.shape):
        total = weights["bias"][o] if attrs["bias"] else 0.0
        first = o // per_group_out * per_group_in
        for i, j, row, col in taps(x, attrs, oy, ox):
            for c in range(per_group_in):
                if inside(x, row, col):
                    total += x[n, first + c, row, col] * w[o, c, i, j]
        y[n, o, oy, ox] = total
    return y


def conv_transpose(x, weights, attrs):
    """Scatter every input element, counting only what lands inside the result."""
    w = weights["weight"]
    top, left, bottom, right = attrs["pad"]
    (kh, kw), (sh, sw), (dh, dw), (eh, ew) = (attrs[k] for k in ("kernel", "stride", "dilation", "output_pad"))
    n, c, h, wide = x.shape
    y = np.zeros((n, attrs["out"], (h - 1) * sh + dh * (kh - 1) + 1 - top - bottom + eh,
                  (wide - 1) * sw + dw * (kw - 1) + 1 - left - right + ew))  # fmt: skip
    per_group_in, per_group_out = c // attrs["groups"], w.shape[1]
    for b, ci, iy, ix in np.ndindex(*x.shape):
        for o, i, j in itertools.product(range(per_group_out), range(kh), range(kw)):
            row, col = iy * sh + i * dh - top, ix * sw + j * dw - left
            if inside(y, row, col):
                y[b, ci // per_group_in * per_group_out + o, row, col] += x[b, ci, iy, ix] * w[ci, o, i, j]
    return y + weights["bias"][:, None, None] if attrs["bias"] else y


def maxpool(x, weights, attrs):
    y = np.zeros((*x.shape[:2], *result_size(x, attrs)))
    for n, c, oy, ox in np.ndindex(*y.shape):
        y[n, c, oy, ox] = max(x[n, c, r, q] for _, _, r, q in taps(x, attrs, oy, ox) if inside(x, r, q))
    return y


def avgpool(x, weights, attrs):
    _, _, bottom, right = attrs["pad"]
    y = np.zeros((*x.shape[:2], *result_size(x, attrs)))
    for n, c, oy, ox in np.ndindex(*y.shape):
        total, count = 0.0, 0
        for _, _, row, col in taps(x, attrs, oy, ox):
            if inside(x, row, col):
                total, count = total + x[n, c, row, col], count + 1
            elif attrs["count_include_pad"] and row < x.shape[2] + bottom and col < x.shape[3] + right:
                count += 1
        y[n, c, oy, ox] = total / count
    return y


def lrn(x, weights, attrs):
    y = np.zeros(x.shape)
    half = attrs["size"] // 2
    for n, c, row, col in np.ndindex(*x.shape):
        near = range(max(0, c - half), min(x.shape[1], c + half + 1))
        squares = sum(x[n, i, row, col] ** 2 for i in near)
        y[n, c, row, col] = x[n, c, row, col] / (attrs["k"] + attrs["alpha"] / attrs["size"] * squares) ** attrs["beta"]
    return y
