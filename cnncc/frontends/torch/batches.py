"""Examples of another number of images."""

from __future__ import annotations

from typing import Any

import torch

from cnncc.base.errors import CnnccError
from cnncc.frontends.torch import trees
from cnncc.frontends.torch.program import alike


def of_batch(example: Any, batch: int) -> Any:
    """An example with its tensors repeated, or cut, to so many images. CnnccError unless their first axes agree."""
    leaves, spec = trees.flatten(example)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    counts = {tensor.shape[0] if tensor.dim() else 0 for tensor in tensors}
    if len(counts) > 1 or 0 in counts:
        raise CnnccError("the inputs have no first axis in common, so there is no batch", hint="leave `batch` out")
    changed = [sized(leaf, batch) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    return trees.unflatten(changed, spec)


def apart(example: Any) -> Any:
    """An example in which no tensor is given twice: `torch.export` takes arguments that hold one tensor for one, and
    its program then reads only one of them."""
    leaves, spec = trees.flatten(example)
    seen: set[int] = set()
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor) and id(leaf) in seen:
            leaves[i] = leaf.clone()
        seen.add(id(leaves[i]))
    return trees.unflatten(leaves, spec)


def sized(tensor: torch.Tensor, batch: int) -> torch.Tensor:
    """The tensor with `batch` images."""
    if len(tensor) == batch:
        return tensor
    times = -(-batch // len(tensor))
    return alike(tensor.repeat(times, *[1] * (tensor.dim() - 1))[:batch], tensor)
