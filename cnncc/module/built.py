"""What a compilation gives, whatever it is for: a program with its code, that can be run here or written to files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from cnncc.base.elements import BFLOAT16, FLOAT16, decode
from cnncc.module import describe
from cnncc.module.layout import from_stored
from cnncc.module.listener import Progress
from cnncc.module.program import Arena, Program
from cnncc.plan.homes import Home, InArena, InOutput
from cnncc.runtime.model import Model

P = TypeVar("P", bound=Program[Any], covariant=True)


@dataclass(frozen=True, eq=False)
class Built(ABC, Generic[P]):
    """A program with its code."""

    program: P
    _: KW_ONLY
    progress: Progress | None = None
    origin: Mapping[str, Any] | None = None
    """What the network and its weights were called, as `cnncc.frontends.sources.read_bound` takes them."""
    notes: Sequence[str] = ()
    """What whoever runs the module should know of the network."""
    weights_from: str = ""
    """The file the weights are from, or `random (seed 0)`."""

    @abstractmethod
    def model(self) -> Model:
        """The network in this process. CnnccError if this machine cannot run it."""

    @abstractmethod
    def write(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Writes files of the network by kind (see `cnncc.module.roles`), all whole or none. Returns their paths.
        CnnccError for a kind that the target does not have, or a file that cannot be written."""

    @abstractmethod
    def trace(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Runs in this process and returns every value that survives the passes, by name, in NCHW. Only for a program
        made with `keep_all`; otherwise values overwrite each other."""

    @abstractmethod
    def _of_machine(self) -> Mapping[str, Any]:
        """What the module says of itself besides what all modules say, and in place of that."""

    @property
    def arena(self) -> Arena:
        """The memory of a run and what it holds."""
        return self.program.arena

    @property
    def weight_bytes(self) -> int:
        """Of all weights in the module."""
        return self.program.weight_bytes

    @property
    def kernels(self) -> list[tuple[str, str, str]]:
        """(node, kernel, why) of every call."""
        return list(describe.kernels(self.program))

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the module says of itself."""
        p = self.program
        return {
            **describe.network(p),
            "memory": {**asdict(p.arena), "arena_bytes": p.arena.total_bytes, "weight_bytes": p.weight_bytes},
            "weights_dtype": p.options.weights_dtype,
            "threads": p.threads,
            "flags": describe.flags(p),
            **self._of_machine(),
            **({"origin": dict(self.origin)} if self.origin else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def traced(program: Program[Any], arena: np.ndarray, outputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The values of a run by name, in NCHW, out of the bytes of its arena and its outputs; halves as float32."""
    buffers: dict[Home, np.ndarray] = {InOutput(i): o.reshape(-1).view(np.uint8) for i, o in enumerate(outputs)}
    values = {}
    for node in program.graph.nodes:
        placement = program.plan.placements[node.name]
        buffer = arena if isinstance(placement.home, InArena) else buffers.get(placement.home)
        if buffer is None:
            continue
        size = node.type.nbytes // node.type.shape[0]
        starts = [placement.offset + placement.inner + i * placement.image_stride for i in range(node.type.shape[0])]
        stored = np.concatenate([buffer[s : s + size] for s in starts]).view(node.type.element.dtype)
        value = from_stored(stored, node.type)
        halves = node.type.element in (BFLOAT16, FLOAT16)
        values[program.source_names.get(node.name, node.name)] = decode(value, node.type.element) if halves else value
    return values
