"""A module behind HTTP with FastAPI. Settings come from the environment, see service.py:

CNNCC_MODULE=lenet5.so uvicorn --app-dir examples/serve fastapi_app:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from service import image_of, make_batcher

from cnncc import CnnccError, InputError
from cnncc.pictures import images
from cnncc.serving import QueueFullError


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens the module when the server starts; when it stops, finishes what waits."""
    with make_batcher(os.environ) as app.state.batcher:
        yield


app = FastAPI(title="cnncc", lifespan=lifespan)


@app.post("/predict")
async def predict(request: Request) -> Response:
    """Takes the numbers of one image as bytes, and gives those of the result."""
    batcher = request.app.state.batcher
    result = await batcher.infer(image_of(await request.body(), batcher.model))
    return Response(result.tobytes(), media_type="application/octet-stream")


@app.post("/picture")
async def picture(request: Request) -> dict[str, Any]:
    """Takes an image file (PNG, JPEG), and gives the class with the largest score."""
    batcher, body = request.app.state.batcher, await request.body()
    try:
        image = await run_in_threadpool(images.prepare, body, batcher.model.info["inputs"][0])
    except CnnccError as error:
        raise HTTPException(400, str(error)) from error
    scores = (await batcher.infer(image)).ravel()
    return {"class": int(scores.argmax()), "score": float(scores.max())}


@app.get("/counts")
async def counts(request: Request) -> dict[str, Any]:
    """What the batcher has done so far."""
    return asdict(request.app.state.batcher.counts())


@app.get("/health")
async def health() -> str:
    """Answers once the module is open."""
    return "ok"


@app.exception_handler(InputError)
async def refuse_input(_: Request, error: InputError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


@app.exception_handler(QueueFullError)
async def refuse_for_now(_: Request, error: QueueFullError) -> JSONResponse:
    return JSONResponse({"detail": error.message}, 503, headers={"Retry-After": "1"})
