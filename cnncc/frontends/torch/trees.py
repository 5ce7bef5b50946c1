"""Tuples, lists and dictionaries of tensors as one list and back. PyTorch has no public name for that yet."""

from __future__ import annotations

import torch.utils

_pytree = torch.utils._pytree
flatten = _pytree.tree_flatten
"""(leaves, structure)"""
unflatten = _pytree.tree_unflatten
"""Leaves in a structure."""
with_places = _pytree.tree_flatten_with_path
"""As `flatten`, each leaf with its path."""
