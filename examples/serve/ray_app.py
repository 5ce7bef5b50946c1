"""A module behind HTTP with Ray Serve. Settings come from the environment, see service.py:

CNNCC_MODULE=lenet5.so python examples/serve/ray_app.py --port 8000
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from contextlib import suppress

import ray
from ray import serve
from service import SETTINGS, image_of, make_batcher
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from cnncc import InputError
from cnncc.serving import QueueFullError


@serve.deployment(max_ongoing_requests=64)
class Classifier:
    """One replica: a process with a module and a batcher of its own."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._batcher = make_batcher(settings)

    async def __call__(self, request: Request) -> Response:
        """Takes the numbers of one image as bytes, and gives those of the result; without a body it says `ok`."""
        body = await request.body()
        if not body:
            return PlainTextResponse("ok")
        try:
            result = await self._batcher.infer(image_of(body, self._batcher.model))
        except InputError as error:
            return JSONResponse({"detail": str(error)}, 400)
        except QueueFullError as error:
            return JSONResponse({"detail": error.message}, 503, headers={"Retry-After": "1"})
        return Response(result.tobytes(), media_type="application/octet-stream")

    def __del__(self) -> None:
        if hasattr(self, "_batcher"):
            self._batcher.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="serves a module with Ray Serve on this machine")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--replicas", type=int, default=1, help="processes, each with a module of its own")
    given = parser.parse_args()
    settings = {name: os.environ.get(name, default) for name, default in SETTINGS.items()}
    if settings["CNNCC_MODULE"]:  # replicas have another working folder
        settings["CNNCC_MODULE"] = os.path.abspath(settings["CNNCC_MODULE"])
    ray.init(include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": given.port})
    with suppress(KeyboardInterrupt):
        serve.run(Classifier.options(num_replicas=given.replicas).bind(settings), blocking=True)


if __name__ == "__main__":
    main()
