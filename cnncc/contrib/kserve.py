"""A module as a model of KServe, behind the Open Inference Protocol (V2)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnncc.base import extras
from cnncc.contrib.predictor import ship
from cnncc.runtime.arrays import Port
from cnncc.serving import Batcher, ClosedError, QueueFullError

extras.require(extras.KSERVE)
import kserve  # noqa: E402
from kserve.errors import InvalidInput, ModelNotReady  # noqa: E402
from kserve.utils.numpy_codec import from_np_dtype  # noqa: E402
from kserve.utils.utils import generate_uuid  # noqa: E402


class CnnccKServeModel(kserve.Model):  # type: ignore[misc]
    """A model for `kserve.ModelServer().start([model])`. It speaks V2, with tensors as JSON or as bytes.

    - `name`: the name in the addresses of the server, `/v2/models/NAME/infer`.
    - `module`: the path of a compiled module.
    - `threads`: threads of each run.
    - `max_delay_ms`, `max_waiting` and `workers`: those of `cnncc.serving.Batcher`, which runs requests that come at
      the same time as one batch.

    A request has one tensor for each input of the module, by its name, of any number of images. A request that the
    module cannot take is answered with 400, one that finds too many waiting with 503. Each process of a server opens
    the module at its first request.

    Raises CnnccError if there is no module at the path, or `threads` is out of range. Importing `cnncc.contrib.kserve`
    raises it if KServe is not installed.
    """

    def __init__(
        self,
        name: str,
        module: str | os.PathLike[str],
        threads: int = 1,
        max_delay_ms: float = 0.0,
        max_waiting: int = 256,
        workers: int = 1,
    ) -> None:
        super().__init__(name)
        self._predictor = ship(module, threads)
        self._options: dict[str, Any] = {"max_delay_ms": max_delay_ms, "max_waiting": max_waiting, "workers": workers}
        self._batcher: Batcher | None = None
        self.ready = True

    @property
    def batcher(self) -> Batcher:
        """The batcher of this process, made when first asked for: a server with several processes pickles its models
        for them."""
        if self._batcher is None:
            self._batcher = Batcher(self._predictor.model, when_full="refuse", **self._options)
        return self._batcher

    def stop(self) -> None:
        """Finishes what waits. The model is not ready any more."""
        super().stop()
        if self._batcher is not None:
            self._batcher.close()

    def get_input_types(self) -> list[dict[str, Any]]:
        """The inputs as the metadata of V2 have them: name, datatype, shape with -1 for the number of images."""
        return _types(self._predictor.info["inputs"])

    def get_output_types(self) -> list[dict[str, Any]]:
        """The outputs, in the same form."""
        return _types(self._predictor.info["outputs"])

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> kserve.InferResponse:
        """The answer to a V2 request. KServe's InvalidInput and ModelNotReady for what it answers with 400 and 503."""
        if not isinstance(payload, kserve.InferRequest):
            raise InvalidInput(f"{self.name} speaks V2 only: POST to /v2/models/{self.name}/infer")
        try:
            arrays = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
            results = await self.batcher.infer(arrays)
        except (QueueFullError, ClosedError) as error:
            raise ModelNotReady(self.name, error.message) from error
        except ValueError as error:  # an InputError, or numbers that do not fill the tensor's own shape
            raise InvalidInput(str(error)) from error
        return kserve.InferResponse(
            payload.id or generate_uuid(),
            self.name,
            [_output(name, result) for name, result in results.items()],
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


def _types(ports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    described = map(Port.described, ports)
    return [{"name": p.name, "datatype": from_np_dtype(p.numpy), "shape": [-1, *p.shape[1:]]} for p in described]


def _output(name: str, result: np.ndarray) -> kserve.InferOutput:
    return kserve.InferOutput(name, list(result.shape), from_np_dtype(result.dtype), result)
