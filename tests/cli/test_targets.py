"""`cnncc targets`."""

from __future__ import annotations

import pytest

from cnncc.machines import gpus, targets


def test_the_table_lists_every_target_this_machine_first(cnncc):
    lines = cnncc("targets").out.splitlines()
    end = lines.index("")
    assert [line.split()[0] for line in lines[2:end]] == targets.names()
    assert [line.split()[0] for line in lines[end + 3 : -1]] == gpus.names()
    assert lines[-1] == "all of one: cnncc targets NAME; use it: cnncc compile NET --target NAME"


def test_one_target_in_full(cnncc):
    lines = cnncc("targets", "x86-64-v3").out.splitlines()
    rows = {key: value.strip() for key, _, value in (line.partition(" ") for line in lines)}
    assert (rows["name"], rows["vector_bits"]) == ("x86-64-v3", "256")
    assert "avx2" in rows["requires"].split(", ")
    units = [line.partition(" ")[2].strip() for line in lines if line.startswith("unit ")]
    assert [unit.split(",")[0] for unit in units] == ["element float32", "element int8"]
    assert units[0].startswith("element float32, sums float32, lanes 8, depth 1, registers 16, ports 2")


def test_a_long_list_goes_on_below_its_label(cnncc):
    lines = cnncc("targets", "host").out.splitlines()
    assert max(map(len, lines)) <= 100
    (start,) = [i for i, line in enumerate(lines) if line.startswith("features ")]
    assert lines[start + 1].startswith((" " * 13 + "+", " " * 13 + "-"))


def test_json_has_every_field(cnncc):
    data = cnncc("targets", "--json").json
    assert [target["name"] for target in data] == [*targets.names(), *gpus.names()]
    assert data[0]["cores"] == targets.host().cores


def test_an_unknown_target_is_refused_with_the_nearest(cnncc):
    result = cnncc("targets", "x86-64-v33")
    assert result.code == 2
    told = " ".join(result.err.split())
    assert told == f"cnncc: unknown target 'x86-64-v33' hint: did you mean 'x86-64-v3'? known: {KNOWN}"


def test_a_gpu_in_full(cnncc):
    assert "H100 SXM" in cnncc("targets", "cuda-sm_90").out
    result = cnncc("targets", "cuda-sm_91")
    assert (result.code, "unknown target 'cuda-sm_91'" in result.err) == (2, True)


KNOWN = ", ".join(sorted([*targets.names(), *gpus.names()]))


@pytest.mark.parametrize(
    "command", [("memory", "lenet5"), ("profile", "lenet5"), ("bench", "lenet5"), ("bench", "--kernels")]
)
def test_some_commands_take_one_target(cnncc, command):
    result = cnncc(*command, "--target", "x86-64-v2,x86-64-v3")
    assert (result.code, result.err) == (2, "cnncc: this command takes one target, got x86-64-v2,x86-64-v3\n")
