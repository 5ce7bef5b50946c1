"""PyTorch as a front door: a module in, a compiled module out. PyTorch is not needed to run what was saved.

import cnncc.torch
model = cnncc.torch.compile(module.eval(), example)    # called as the module
fast = torch.compile(module.eval(), backend="cnncc")   # what cannot be compiled stays in PyTorch
"""

from __future__ import annotations

from cnncc.torch.compiled import CompiledModule, compile, to_net

__all__ = ["CompiledModule", "compile", "to_net"]
