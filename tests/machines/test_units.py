"""What a target file may say of a processor and its units: errors name file and field, and LLVM knows the names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tvm.target.codegen import llvm_get_cpu_archlist, llvm_get_cpu_features

from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.machines import targets
from cnncc.machines.units import DotUnit, PairUnit, VectorUnit, read_units
from cnncc.module.cpu.objects import tvm_target

FLOATS = {"element": "float32", "sums": "float32", "lanes": 8, "depth": 1, "registers": 16, "ports": 2, "latency": 4}
DOTS = {**FLOATS, "element": "int8", "sums": "int32", "depth": 4, "instruction": "vpdpbusd"}
PAIRS = {**FLOATS, "element": "bfloat16", "depth": 2, "instruction": "vdpbf16ps"}


def read(*units: dict[str, Any]) -> tuple[VectorUnit, ...]:
    return read_units("a.toml", list(units), 256)


def test_a_dot_product_is_a_unit_like_any_other() -> None:
    assert read(FLOATS, DOTS, PAIRS) == (VectorUnit(**FLOATS), DotUnit(**DOTS), PairUnit(**PAIRS))


@pytest.mark.parametrize(
    ("units", "text"),
    [
        ([{**FLOATS, "lanes": 0}], "a.toml: units[0].lanes: must be a whole number above 0, got 0"),
        ([FLOATS, {**DOTS, "latency": "4"}], "a.toml: units[1].latency: must be a whole number above 0, got '4'"),
        ([{**FLOATS, "ports": True}], "a.toml: units[0].ports: must be a whole number above 0, got True"),
        ([{**FLOATS, "ports": 2.0}], "a.toml: units[0].ports: must be a whole number above 0, got 2.0"),
        ([{**FLOATS, "element": "float23"}], "a.toml: units[0].element: no element 'float23'"),
        ([{**FLOATS, "sums": 32}], "a.toml: units[0].sums: no element 32"),
        ([{**FLOATS, "lanes": 16}], "a.toml: units[0].lanes: 16 of float32 do not fit into 256 bits"),
        ([FLOATS, {**DOTS, "depth": 5}], "a.toml: units[1].depth: 5 of int8 do not fit into a lane of int32"),
        ([FLOATS, {**DOTS, "instruction": "fma"}], "a.toml: units[1].instruction: no instruction 'fma'"),
        ([FLOATS, {**DOTS, "depth": 2}], "a.toml: units[1].depth: vpdpbusd adds up 4, got 2"),
        ([FLOATS, {**PAIRS, "instruction": "sdot"}], "a.toml: units[1].instruction: no instruction 'sdot'"),
        ([FLOATS, {**PAIRS, "depth": 1}], "a.toml: units[1].depth: vdpbf16ps adds up 2, got 1"),
        ([{**FLOATS, "instruction": "sdot"}], "a.toml: units[0]: missing or unknown keys: instruction"),
        ([{k: v for k, v in FLOATS.items() if k != "depth"}], "a.toml: units[0]: missing or unknown keys: depth"),
        ([{**FLOATS, "speed": 1}], "a.toml: units[0]: missing or unknown keys: speed"),
        ([DOTS], "a.toml: units: none adds up products of float32 to float32, which every network needs"),
        ([FLOATS, FLOATS], "a.toml: units: 2 of them add up products of float32 to float32"),
    ],
)
def test_what_does_not_fit_is_refused_by_field(units: list[dict[str, Any]], text: str) -> None:
    with pytest.raises(CnnccError) as error:
        read(*units)
    assert error.value.message == text


@pytest.mark.parametrize("data", ["float32", 3, ["float32"]])
def test_units_are_tables(data: object) -> None:
    with pytest.raises(CnnccError, match=r"a.toml: units: must be a list of tables, \[\[units\]\]"):
        read_units("a.toml", data, 256)


def test_an_unknown_element_has_the_nearest_as_a_hint() -> None:
    with pytest.raises(CnnccError) as error:
        read({**FLOATS, "element": "float23"})
    assert "float32" in str(error.value.hint)


def test_a_target_file_with_a_wrong_unit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (resources.directory("targets") / "x86-64-v3.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("registers = 16", "registers = -16"))
    monkeypatch.setattr(resources, "directory", lambda name: tmp_path)
    with pytest.raises(CnnccError, match=r"mine.toml: units\[0\].registers: must be a whole number above 0, got -16"):
        targets.load("mine")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("cores = 2", "cores = 0", "mine.toml: cores: must be a whole number above 0, got 0"),
        ("cores = 2", "cores = true", "mine.toml: cores: must be a whole number above 0, got True"),
        ("block = 16", "block = 16.0", "mine.toml: block: must be a whole number above 0, got 16.0"),
        ("_bits = 256", '_bits = "256"', "mine.toml: vector_bits: must be a whole number above 0, got '256'"),
        (
            "l3_bytes_per_cycle = 8.0",
            "l3_bytes_per_cycle = -1",
            "mine.toml: l3_bytes_per_cycle: must be a number above 0",
        ),
        ('isa = "avx2"', 'isa = "avx 2"', "mine.toml: isa: must be letters, digits and `_`, got 'avx 2'"),
        ("features = []", 'features = ["avx2"]', "mine.toml: features: 'avx2' has no sign"),
    ],
)
def test_a_target_file_with_a_wrong_value_is_named(
    old: str, new: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (resources.directory("targets") / "x86-64-v3.toml").read_text()
    assert old in file
    (tmp_path / "mine.toml").write_text(file.replace(old, new))
    monkeypatch.setattr(resources, "directory", lambda name: tmp_path)
    with pytest.raises(CnnccError) as refused:
        targets.load("mine")
    assert refused.value.message.startswith(text)


@pytest.mark.parametrize("name", targets.names())
def test_llvm_knows_the_names_of_every_target(name: str) -> None:
    """For a processor that LLVM does not know, it makes code for a generic one."""
    target = targets.load(name)
    known = {str(cpu) for cpu in llvm_get_cpu_archlist(tvm_target(target))}
    assert {target.cpu, *filter(None, [target.baseline])} <= known
    has = {str(feature) for feature in llvm_get_cpu_features(tvm_target(target))}
    asked = {feature[1:] for feature in target.features if feature.startswith("+")}
    assert {*target.requires, *asked} <= has, "not a name of LLVM, or `cpu` and `features` do not turn it on"


@pytest.mark.parametrize("name", targets.names())
def test_the_floats_of_every_target_fill_its_vectors(name: str) -> None:
    target = targets.load(name)
    assert target.floats in target.units
    assert (target.floats.lanes * 32, target.floats.depth) == (target.vector_bits, 1)
    assert target.block % target.lanes == 0
