"""Scales of a network from images of it, and what they cost."""

from __future__ import annotations

from cnncc.calibrate.search import quantize

__all__ = ["quantize"]
