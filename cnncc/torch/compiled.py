"""Compiling a module of PyTorch, and calling what came out as the module is called."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc import api
from cnncc.base import extras
from cnncc.frontends import sources
from cnncc.frontends.sources import NetworkSource, declared
from cnncc.frontends.torch.network import export, network_of
from cnncc.options import DEFAULT, Options, split_targets

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

    from cnncc.frontends.network import Network
    from cnncc.module.listener import Progress
    from cnncc.runtime.model import Model


def to_net(
    module: torch.nn.Module | ExportedProgram,
    example: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
    dynamic_shapes: Any = None,
) -> Network:
    """The network of a module: its text, and its graph with the module's weights.

    `module` is in eval mode, or a program of `torch.export`. `example` is a tuple of the arguments of a call, or the
    only argument; `kwargs` are arguments by name. Their shapes and types are those of the network. It is called `name`,
    else as the class of the module.

    `dynamic_shapes` are those of `torch.export`: the first axis of all inputs, the batch, and heights and widths, which
    become ranges of the text: `Dim("h", min=32, max=1024)`, or `8 * Dim("h", min=4, max=128)`.

    Raises CnnccError for a module in training mode, one that `torch.export` cannot export, one with other sizes that
    are not fixed, one that is another network at another size, and with a line for each op without counterpart.
    """
    network = network_of(export(module, example, kwargs, None, dynamic_shapes), name)
    if network.refused is not None:
        raise network.refused
    return network


def compile(  # noqa: PLR0913 - keywords are what people want here
    module: torch.nn.Module | ExportedProgram,
    example: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    dynamic_shapes: Any = None,
    batch: int | None = None,
    target: str | Sequence[str] = DEFAULT.targets,
    threads: int | None = DEFAULT.threads,
    max_error: float = DEFAULT.max_error,
    weights_dtype: str = DEFAULT.weights_dtype,
    dtype: str = DEFAULT.dtype,
    tune: float | None = DEFAULT.tune,
    progress: Progress | None = None,
) -> CompiledModule:
    """Compiles a module and links it into this process.

    `module`, `example`, `kwargs`, `name` and `dynamic_shapes` are those of `to_net`, the others those of
    `cnncc.compile`. `batch` is the most images of a run, by default as many as the example has; with it, a module that
    mixes images is refused. The weights are those of now: what is trained later needs another compile.

    Returns what is called as the module is, with tensors in the CPU's memory. Raises CnnccError as both do.
    """
    extras.require(extras.COMPILER)
    from cnncc.module.backends import for_this_machine

    exported = export(module, example, kwargs, batch, dynamic_shapes)
    network = network_of(exported, name, batch)
    named = Options(split_targets(target), 1, threads, max_error, dtype, weights_dtype, tune)
    options = for_this_machine(named)
    free = api.most_images(options) if network.batch_is_free else network.batch
    count = free if batch is None else batch
    model = linked(network, replace(options, batch=count), named.targets, progress)
    return CompiledModule(model, exported, network)


def linked(
    network: Network, options: Options, targets: Sequence[str] | None = None, progress: Progress | None = None
) -> Model:
    """The model of a network of PyTorch."""
    inputs = {port.node: declared(port, network.batch) for port in network.inputs}
    outputs = [declared(port, network.batch) for port in network.outputs if port.node]
    ranged = sources.ranged(network)
    source = NetworkSource(network.graph, "PyTorch", inputs, outputs, network.notes, ranged=ranged)
    return api.link([source], options, targets, progress)


class CompiledModule:
    """A compiled module: call it as the module. Any number of threads may do so at the same time."""

    def __init__(self, model: Model, exported: ExportedProgram, network: Network) -> None:
        from cnncc.torch.calls import Calls

        self.model = model
        """The model of arrays, as `cnncc.compile` gives it."""
        self.network = network
        """Its text and graph."""
        self._calls = Calls.of(exported, network)

    def __repr__(self) -> str:
        return f"<compiled module: {self.model!r}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the network on tensors, which are not copied if they are contiguous and float32.

        Arguments are built as those of the example; those that are no tensors have to be equal to them. Returns what
        the module returns, of new tensors. Raises InputError for other arguments, and CnnccError for tensors that want
        gradients.
        """
        return self._calls.run(self.model, args, kwargs)

    def save(self, path: str | os.PathLike[str], emit: str | Sequence[str] = ("so", "h")) -> Mapping[str, Path]:
        """Writes a module that `cnncc.load` and C programs open without PyTorch: `Model.save`."""
        return self.model.save(path, emit)
