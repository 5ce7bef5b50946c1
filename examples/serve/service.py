"""What both servers share: a batcher made by settings from the environment, and arrays as bytes of HTTP messages."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

import cnncc
from cnncc import InputError
from cnncc.base.errors import CnnccError
from cnncc.runtime.model import Model
from cnncc.serving import Batcher

SETTINGS = {
    "CNNCC_MODULE": "",
    "CNNCC_THREADS": "1",
    "CNNCC_WORKERS": "1",
    "CNNCC_MAX_BATCH": "",
    "CNNCC_MAX_DELAY_MS": "0",
    "CNNCC_MAX_WAITING": "256",
}
"""The settings and their defaults. The module has none; CNNCC_MAX_BATCH is by default the batch of the module."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread of Python that has the interpreter's lock hands it to one that waits for it. A worker
whose run has ended waits for the event loop's thread; with Python's own 0.005 that is longer than a small network."""


def make_batcher(environment: Mapping[str, str]) -> Batcher:
    """A batcher that refuses when too many wait: clients are told to come again, and memory stays bounded."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    given = {name: environment.get(name, default) for name, default in SETTINGS.items()}
    if not given["CNNCC_MODULE"]:
        raise CnnccError("CNNCC_MODULE is not set", hint="the path of a module: cnncc compile NET --batch 8 -o NET.so")
    model = cnncc.load(given["CNNCC_MODULE"], threads=int(given["CNNCC_THREADS"]))
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise CnnccError(f"{model.name}: these servers are for networks of one input and one output")
    return Batcher(
        model,
        max_batch=int(given["CNNCC_MAX_BATCH"] or model.batch),
        max_delay_ms=float(given["CNNCC_MAX_DELAY_MS"]),
        max_waiting=int(given["CNNCC_MAX_WAITING"]),
        when_full="refuse",
        workers=int(given["CNNCC_WORKERS"]),
    )


def image_of(body: bytes, model: Model) -> np.ndarray:
    """The image (1, c, h, w) whose numbers are the bytes of a message. InputError if their count is wrong."""
    port = model.inputs[0]
    shape = (1, *port.shape[1:])
    wanted = int(np.prod(shape)) * port.numpy.itemsize
    if len(body) != wanted:
        raise InputError(f"an image for {model.name} has {wanted} bytes of {port.dtype}, got {len(body)}")
    return np.frombuffer(body, port.numpy).reshape(shape)
