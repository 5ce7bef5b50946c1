"""What one caller asks for: checked arrays of some images, and the future that gets their results."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnncc.runtime.arrays import InputError, check_inputs, in_order
from cnncc.runtime.model import Model


@dataclass(frozen=True, eq=False)
class Request:
    """Some images that wait for their run."""

    arrays: Sequence[np.ndarray]
    """One for each input, of the module's types, with the same number of images."""
    by_name: bool
    """Whether the results are a dictionary by the names of the outputs."""
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    """When it was made, in seconds of `time.monotonic`."""

    @property
    def images(self) -> int:
        """How many images it has."""
        return len(self.arrays[0])


def checked_request(model: Model, arrays: Sequence[Any], named: Mapping[str, Any]) -> Request:
    """The request of a call of `model.run_many` with these arguments. InputError for arrays that the model cannot
    take."""
    given = _given_by_name(model, arrays, named)
    values = arrays if given is None else in_order(model.name, model.inputs, given)
    return Request(check_inputs(model.name, model.inputs, values), given is not None)


def _given_by_name(model: Model, arrays: Sequence[Any], named: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The arrays by the names of the inputs; None if they come in order."""
    if named and arrays:
        raise InputError(f"{model.name} takes arrays in order, or all by name, not both")
    if len(arrays) == 1 and isinstance(arrays[0], Mapping):
        return arrays[0]
    return named or None


def run_requests(model: Model, requests: Sequence[Request]) -> list[Any]:
    """What `model.run_many` returns for each of the requests, of one run for all."""
    inputs = [_joined([r.arrays[i] for r in requests]) for i in range(len(model.inputs))]
    count = sum(r.images for r in requests)
    outputs = [np.empty((count, *port.shape[1:]), port.numpy) for port in model.outputs]
    model.run_many(*inputs, out=tuple(outputs))
    ends = np.cumsum([r.images for r in requests])[:-1]
    rows = zip(*(np.split(output, ends) for output in outputs), strict=True)
    return [_results(model, r, row) for r, row in zip(requests, rows, strict=True)]


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _results(model: Model, request: Request, rows: Sequence[np.ndarray]) -> Any:
    """The rows of one request in the types and shapes that a call returns."""
    ports = model.outputs
    results = [p.declared.from_ours(r) if p.declared else r for p, r in zip(ports, rows, strict=True)]
    if request.by_name:
        return {port.name: result for port, result in zip(ports, results, strict=True)}
    return results[0] if len(results) == 1 else tuple(results)
