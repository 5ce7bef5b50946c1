"""What is known of each op in different parts of the compiler: nothing of an op is forgotten."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from every_op import LATE, MADE, SPECIAL, full_graphs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cnncc.frontends.onnx.write_rules import RULES as WRITTEN
from cnncc.kernels.cpu.rules import RULES as CPU
from cnncc.kernels.gpu.rules import RULES as GPU
from cnncc.kernels.gpu.rules import without_kernel
from cnncc.kernels.shared import functions, pairs
from cnncc.ops import ACTIVATIONS, TABLE, of_trait, vectors
from cnncc.ops.combine import MERGES
from cnncc.ops.domains import Inputs, Values
from cnncc.ops.pointwise import RECORDS
from cnncc.ops.traits import Kind

DOCS = Path(__file__).resolve().parents[1] / "docs"
UNCOMPUTED = {"const": "its value is in the weights"}
UNWRITTEN = dict.fromkeys(
    ("relayout", "pick", "lookup"), "no graph that is exported has one: passes of a compile add it"
)
RANGES = {
    Values.ANY: (-8, 8),
    Values.EXACT: (-8, 8),
    Values.POSITIVE: (0.01, 1),
    Values.INSIDE: (0, 0.9),
    Values.ABOVE_ONE: (1.5, 2.5),
}


def test_each_op_has_a_kernel_for_processors() -> None:
    assert TABLE.keys() - UNCOMPUTED == CPU.keys()


def test_each_op_has_a_kernel_for_gpus_or_its_page_says_why_not() -> None:
    listed: dict[str, set[str]] = defaultdict(set)
    table = (DOCS / "cuda.md").read_text(encoding="utf-8").partition("| ops | why |")[2].partition("\n\n")[0]
    for names, why in re.findall(r"^\| (`.*`) \| (.*) \|$", table, re.M):
        listed[why] |= set(re.findall(r"`(\w+)`", names))
    found: dict[str, set[str]] = defaultdict(set)
    for op in TABLE:
        found[without_kernel(op)] |= {op}
    del found[""]
    told = {op: why for why, names in listed.items() for op in names}
    wanted = {op: why for why, names in found.items() for op in names}
    assert told == wanted, "the table of docs/cuda.md lists the ops without a kernel, by why"
    assert GPU.keys() <= TABLE.keys()


def test_each_op_is_written_unless_a_pass_adds_it() -> None:
    added = {"relayout", "spread", "pick", "lookup"}
    assert {name for name, op in TABLE.items() if not op.forms} == LATE == added


def test_each_op_is_made_for_random_graphs() -> None:
    assert TABLE.keys() == MADE | LATE, "an op is tried with nothing, see Op.tried"


def test_each_op_that_is_not_tried_by_its_domains_says_why() -> None:
    assert {name for name, op in TABLE.items() if op.tried.why} == SPECIAL.keys() | LATE
    assert [name for name, op in TABLE.items() if (op.tried.inputs is Inputs.NONE) != bool(op.tried.why)] == []


def test_each_op_is_said_in_onnx() -> None:
    unsaid = TABLE.keys() - UNWRITTEN - WRITTEN.keys()
    assert unsaid == set(), "say what it is in ONNX: Op.onnx, or WRITTEN of a file in cnncc/frontends/onnx/convert"
    assert WRITTEN.keys() <= TABLE.keys()


def test_each_op_is_on_the_page_of_the_language() -> None:
    page = (DOCS / "language.md").read_text(encoding="utf-8")
    unsaid = {op.forms[0].word for op in TABLE.values() if op.forms and not re.search(rf"`{op.forms[0].word}\b", page)}
    assert unsaid == set(), "docs/language.md says how each op is written"


@pytest.mark.parametrize("op", sorted(MADE))
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(st.data())
def test_each_slot_has_initial_values(op: str, data: st.DataObject) -> None:
    for node in data.draw(full_graphs([op])).nodes:
        assert node.weights.keys() <= TABLE[node.op].initial.keys(), node.op


def test_a_record_for_each_pointwise_op() -> None:
    assert set(of_trait(lambda t: t.kind is Kind.POINTWISE)) == RECORDS.keys() == ACTIVATIONS


def test_a_record_for_each_merge() -> None:
    assert set(of_trait(lambda t: t.kind is Kind.MERGE)) == MERGES.keys()


def test_kernels_have_the_functions_that_formulas_call() -> None:
    assert vectors.FUNCTIONS.keys() == functions.FUNCTIONS.keys()
    assert vectors.PAIRS.keys() == pairs.PAIRS.keys()


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_formulas_are_what_their_references_say(name: str) -> None:
    """Kernels compute the formula; here NumPy does, with functions that are exact."""
    record = RECORDS[name]
    x = np.linspace(*RANGES[record.values], 1001)
    attrs = {key: number.default for key, number in record.numbers.items()}
    got, want = record.formula(vectors.NumpyVectors(x.dtype), x, **attrs), record.evaluate(x, attrs)
    assert np.abs(got - want).max() <= record.tolerance * np.abs(want).max()
