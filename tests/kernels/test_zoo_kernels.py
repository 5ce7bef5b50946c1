"""Which kernels the zoo gets: optimised ones only, every value where it belongs, arenas within their bounds."""

from __future__ import annotations

from functools import cache

import pytest

from cnncc import lang
from cnncc.base import resources
from cnncc.kernels.cpu.grouped import GroupedConfig
from cnncc.kernels.cpu.tiles import Tile, fits_registers
from cnncc.machines import targets
from cnncc.module.cpu.program import CpuProgram
from cnncc.module.lower import lower
from cnncc.options import Options

ZOO = sorted(p.stem for p in resources.directory("models").glob("*.net"))
SUMS = {"conv": {"conv_direct", "pad", "winograd", "winograd_input", "window", "conv_grouped"}, "fc": {"dense"}}
"""Kernel families that may compute a node with multiply-adds."""


@cache
def program(name: str, target: str) -> CpuProgram:
    return lower(lang.read(resources.directory("models") / f"{name}.net"), targets.load(target), Options(threads=2))


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v4"])
@pytest.mark.parametrize("name", ZOO)
def test_every_layer_has_its_kernel(name: str, target: str) -> None:
    """Convolutions and fc use register-tiled kernels whose accumulators fit the registers."""
    chosen = program(name, target)
    for node, selection in chosen.selections.items():
        op = chosen.graph[node].op
        for call in selection.calls:
            assert call.kernel.family in SUMS.get(op, {call.kernel.family}), (node, call.kernel.name)
            tile = getattr(call.kernel.config, "tile", None)
            if isinstance(tile, Tile):
                assert fits_registers(tile, chosen.target), (node, tile)
            if isinstance(call.kernel.config, GroupedConfig):
                assert call.kernel.config.registers <= chosen.target.floats.registers, (node, tile)


@pytest.mark.parametrize("name", ZOO)
def test_nothing_is_moved_that_need_not_be(name: str) -> None:
    """No concat is copied, and the only change of layout is that of an output image, or of an input no conv reads."""
    chosen = program(name, "x86-64-v4")
    moves = {c.node for c in chosen.calls if c.kernel.family in ("copy", "relayout")}
    inputs = {u.name for i in chosen.graph.inputs for u in chosen.graph.users(i.name)}
    changes = {n for n in moves if n in inputs.union(chosen.graph.outputs) and chosen.graph[n].op != "concat"}
    assert moves - changes == set()


@pytest.mark.parametrize("name", ZOO)
def test_arena_is_as_small_as_its_largest_step(name: str) -> None:
    plan = program(name, "x86-64-v4").plan
    assert plan.bytes == plan.bound


def test_resnet50_arena_in_place() -> None:
    """In-place residual adds take the activations of ResNet-50 to 4.977 MiB."""
    assert program("resnet50", "x86-64-v4").plan.bytes == 5_218_304
