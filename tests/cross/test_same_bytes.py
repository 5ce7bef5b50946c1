"""One network on bytes, one input: the same result, bit by bit, on every processor, and by the definition."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from cross.foreign import MACHINES, Machine
from kernels.compare import RUNNABLE
from web.node import needs_linker, needs_node, run, write
from written import write_shared

from cnncc import api, lang, weights
from cnncc.ops import reference
from cnncc.options import Options

TEXT = """net same
const f 40x1x1
input x 5x13x11
quantize uint8 0.03 120
qconv 3x3 40 /2 to uint8 scale 0.05 zero 3
relu
save a
qconv 5x3 40 groups 40 to int8 scale 0.05 zero -5
dequantize; silu; quantize uint8 0.02 10
qconv { | from a } 1x1 40 to uint8 scale 0.05 zero 90
relu6
qmul { | from f } to uint8 scale 0.04 zero 77
qadd { | qconv 3x3 40 groups 4 to uint8 scale 0.06 zero 100 } to int8 scale 0.07 zero -20
concat { maxpool 3x3 /1 pad 1 | pad 1; crop 1,1 7x6 }
upsample 2 nearest
qconv 3x3 24 dil 2 to uint8 scale 0.1 zero 100
dequantize
output
quantize uint8 0.1 100
qgap to uint8 scale 0.01 zero 120
qfc 37 to int8 scale 0.02 zero 3
qfc 10
output
"""
GRAPH = weights.bind(lang.parse(TEXT), seed=5)
X = np.random.default_rng(5).normal(0, 1.5, (1, 5, 13, 11)).astype(np.float32)


def told(parts: list[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.fixture(scope="module")
def wanted() -> str:
    """The hash of what the definition gives."""
    found = reference.run(GRAPH, [X])
    bytes_of = [np.ascontiguousarray(found[name], np.float32) for name in GRAPH.outputs]
    assert len(np.unique(bytes_of[0])) > 40
    return told([part.tobytes() for part in bytes_of])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [name for name in RUNNABLE if name != "host"])
def test_on_processors_that_this_machine_is(name: str, threads: int, wanted: str) -> None:
    model = api.build(GRAPH, Options((name,), threads=threads)).model()
    assert told([part.tobytes() for part in model.run_in(model.new_arena(), [X])]) == wanted


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.target)
def test_on_processors_that_are_emulated(machine: Machine, wanted: str, tmp_path: Path) -> None:
    machine.require()
    build = api.build(GRAPH, Options((machine.target,), threads=1))
    module, _ = write_shared(build, tmp_path / "t.so")
    for output in machine.run(machine.build_harness(tmp_path), module, build, [X], 1):
        assert told([output]) == wanted


@needs_linker
@needs_node
def test_in_a_browsers_engine(wanted: str, tmp_path: Path) -> None:
    build = api.build(GRAPH, Options(("wasm32",)))
    for output in run(write(build, tmp_path), [X]):
        assert told([output]) == wanted
