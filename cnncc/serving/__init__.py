"""Many callers, one model: requests that come at nearly the same time run as one batch. NumPy is all that it needs."""

from __future__ import annotations

from cnncc.serving.batcher import Batcher
from cnncc.serving.counters import ServingCounts
from cnncc.serving.queue import ClosedError, QueueFullError

__all__ = ["Batcher", "ClosedError", "QueueFullError", "ServingCounts"]
