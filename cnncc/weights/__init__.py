"""The values of a graph's constants: read from files, or random from a seed."""

from __future__ import annotations

from cnncc.weights.files import as_constant, bind, load, refuse_mismatches, save

__all__ = ["as_constant", "bind", "load", "refuse_mismatches", "save"]
