"""The back end `cnncc` of `torch.compile`: what can be compiled is, and PyTorch runs the rest.

Dynamo passes parameters as arguments, and may pass others of the same shape later. A graph is therefore compiled for
the shapes and for the very weights of a call, and again for others.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule, Node

from cnncc.base.errors import CnnccError, nearest
from cnncc.frontends.torch.export import NotExported, program_of, refuse_training_ops, traced, whole
from cnncc.frontends.torch.program import alike, is_channels_last
from cnncc.options import DEFAULT, Options, split_targets
from cnncc.torch.calls import GRADIENTS, INFER
from cnncc.torch.pieces import in_pieces

LOG = logging.getLogger("cnncc.torch")
OPTIONS = ("target", "threads", "max_error", "weights_dtype", "dtype", "tune")
"""Keys of `torch.compile(..., options={...})`: those of `cnncc.compile`."""


def backend(
    module: GraphModule, example: Sequence[Any], *, options: Mapping[str, Any] | None = None, mode: str | None = None
) -> Callable[..., Any]:
    """What Dynamo calls for a graph, with the arguments that it will be called with.

    Raises CnnccError for options that there are not, and where gradients are wanted.
    """
    if mode not in (None, "default"):
        raise CnnccError(f"the back end cnncc has no mode {mode!r}", hint=f"options: {', '.join(OPTIONS)}")
    chosen = options_of(options or {})
    if torch.is_grad_enabled() and any(isinstance(t, torch.Tensor) and t.requires_grad for t in example):
        raise CnnccError(GRADIENTS, hint=INFER)
    nodes = module.graph.find_nodes(op="placeholder")
    held = {i: name_of(n) for i, (n, t) in enumerate(zip(nodes, example, strict=True)) if is_held(t)}
    return CapturedGraph(module, held, chosen)


def options_of(given: Mapping[str, Any]) -> Options:
    """The options of a compilation. CnnccError for others."""
    for name in given:
        if name not in OPTIONS:
            raise CnnccError(f"the back end cnncc has no option {name!r}", hint=nearest(name, OPTIONS))
    known = dict(given)
    targets = split_targets(known.pop("target", DEFAULT.targets))
    return Options(targets, **known)


def is_held(value: Any) -> bool:
    """Whether an argument is a parameter, a buffer or another tensor that a module holds."""
    return isinstance(value, torch.nn.Parameter) or getattr(value, "_dynamo_static_input_type", None) is not None


def name_of(node: Node) -> str:
    """The name of a tensor in the state dict, from where Dynamo found it: `L['self']._modules['a']._buffers['b']`."""
    source = getattr(getattr(node, "_dynamo_source", None), "name", "")
    told = source() if callable(source) else source  # a method in older versions
    place = re.sub(r"_(modules|parameters|buffers)\b", "", told)
    found = re.findall(r"\w+", re.sub(r"^[LG]\['\w+'\]", "", place))
    return ".".join(found) or node.name


@dataclass
class CapturedGraph:
    """A graph of Dynamo; it is compiled when it is first called with such arguments."""

    module: GraphModule
    held: Mapping[int, str]
    """The arguments that are tensors of modules, and their names."""
    options: Options
    ready: dict[Any, Ready] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    """What the log has said."""
    plain: bool = False
    """Whether PyTorch runs all of it."""

    def __call__(self, *given: Any) -> Any:
        """Runs the graph."""
        if self.plain:
            return self.module(*given)
        key = tuple(map(identity, given, map(self.held.__contains__, range(len(given)))))
        versions = [version(given[i]) for i in self.held]
        found = self.ready.get(key)
        if found is None or found.versions != versions:
            try:
                run = self.compiled(given)
            except NotExported as error:
                self.tell(f"the whole graph: {error.message}")
                self.plain = True
                return self.module(*given)
            found = self.ready[key] = Ready(run, versions, [given[i] for i in self.held])
        return found.run([value for i, value in enumerate(given) if self.is_passed(i, value)])

    def is_passed(self, i: int, value: Any) -> bool:
        """Whether an argument is a tensor that differs from call to call."""
        return isinstance(value, torch.Tensor) and i not in self.held

    def compiled(self, given: Sequence[Any]) -> Callable[[Sequence[Any]], Any]:
        """The graph for arguments like these."""
        with torch.inference_mode(False), torch.no_grad():
            frozen = Frozen(self.module, given, self.held)
            exported = traced(frozen, tuple(frozen.examples), {})
            refuse_training_ops(exported)
            exported = whole(exported)
            return in_pieces(exported, program_of(exported), self.options, self.tell)

    def tell(self, line: str) -> None:
        """Logs what is left to PyTorch, once."""
        if line not in self.told:
            self.told.add(line)
            LOG.warning("left to PyTorch: %s", line)


@dataclass(frozen=True)
class Ready:
    """What runs a graph, for weights as they were."""

    run: Callable[[Sequence[Any]], Any]
    versions: list[int]
    weights: list[torch.Tensor]
    """They are kept, so that no other tensor gets their place in memory."""


def identity(value: Any, held: bool) -> Any:
    """What code is compiled for: a tensor in its place in memory, a shape, type and order, or a number."""
    if not isinstance(value, torch.Tensor):
        return value
    if held:
        return value.data_ptr(), value.shape, value.stride()
    return value.shape, value.dtype, is_channels_last(value)


def version(tensor: torch.Tensor) -> int:
    """How often a tensor has been written."""
    return 0 if tensor.is_inference() else tensor._version


class Frozen(torch.nn.Module):
    """A graph with the weights that it was called with, as buffers by their names."""

    def __init__(self, body: GraphModule, given: Sequence[Any], held: Mapping[int, str]) -> None:
        super().__init__()
        self.body = body
        self.given = [None if isinstance(value, torch.Tensor) else value for value in given]
        self.places = [i for i, value in enumerate(given) if isinstance(value, torch.Tensor) and i not in held]
        self.examples = [alike(torch.zeros(given[i].shape, dtype=given[i].dtype), given[i]) for i in self.places]
        self.weights = {i: self.hold(name, i, given[i]) for i, name in held.items()}

    def hold(self, name: str, i: int, tensor: torch.Tensor) -> tuple[torch.nn.Module, str]:
        """Registers a tensor; the module that has it, and its name there."""
        owner: torch.nn.Module = self
        *path, last = name.split(".")
        for step in path:
            inner = getattr(owner, step, None)
            if not isinstance(inner, torch.nn.Module):
                if inner is not None:
                    return self.hold(f"tensor_{i}", i, tensor)
                inner = torch.nn.Module()
                owner.add_module(step, inner)
            owner = inner
        if hasattr(owner, last):
            return self.hold(f"tensor_{i}", i, tensor)
        plain = tensor.detach()
        owner.register_buffer(last, plain.clone() if plain.is_inference() else plain)
        return owner, last

    def forward(self, *inputs: torch.Tensor) -> Any:
        merged = list(self.given)
        for i, tensor in zip(self.places, inputs, strict=True):
            merged[i] = tensor
        for i, (owner, name) in self.weights.items():
            merged[i] = getattr(owner, name)
        return self.body(*merged)
