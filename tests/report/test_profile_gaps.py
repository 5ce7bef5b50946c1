"""Which convolutions a profile says are slow, and why."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cnncc import api, lang, weights
from cnncc.cli import main
from cnncc.options import Options
from cnncc.report.profile import NEAR, Gap, Large, Profile, Step, page
from cnncc.report.profile.gaps import Cause, large_convolutions
from cnncc.report.profile.machine_limits import MachineLimits
from cnncc.report.profile.work import works

LIMITS = MachineLimits(flops=400e9, bytes=40e9)
NET = """net t
input 64x56x56
a: conv 1x1 64 relu
b: conv 3x3 64 relu
c: conv 3x3 256 /2
d: conv 1x1 136 relu
"""


def steps_of(program, slowness: float) -> list[Step]:
    """Steps that take so many times as long as their operations at the peak."""
    made = []
    for call, work in zip(program.calls, works(program), strict=True):
        limit = work.flops / LIMITS.flops
        seconds = max(slowness * limit, 1e-6)
        algorithm = call.kernel.family
        made.append(
            Step(call.node, "conv", "k", algorithm, "", seconds, 0.1, work.flops, work.direct_flops, work.bytes,
                 work.element,
                 "compute", limit)
        )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def program():
    return api.build(weights.bind(lang.parse(NET)), Options(threads=2)).program


def test_only_large_and_slow_convolutions_are_listed(program):
    found = large_convolutions(program, steps_of(program, 2.0), LIMITS)
    large = {n.name for n in program.graph.nodes if n.name.partition(".")[0] in "bcd" and n.op == "conv"}
    assert found.count == 3
    assert {gap.node for gap in found.gaps} == large
    assert all(gap.of_limit < NEAR for gap in found.gaps)
    assert large_convolutions(program, steps_of(program, 1.0), LIMITS).gaps == ()


def test_every_gap_has_its_reasons(program):
    found = large_convolutions(program, steps_of(program, 1.5), LIMITS)
    for gap in found.gaps:
        assert gap.causes or gap.unexplained > 0
        assert list(gap.causes) == sorted(gap.causes, key=lambda cause: -cause.seconds)
        assert gap.reason
    by_node = {gap.node.partition(".")[0]: gap for gap in found.gaps}
    assert by_node["b"].algorithm.startswith("winograd")
    assert "transforming the output" in by_node["b"].reason
    # 136 channels in blocks of 16: 8 of 144 are thrown away.
    assert "channels that do not fill their blocks" in by_node["d"].reason
    assert by_node["c"].megaflops == pytest.approx(2 * 28 * 28 * 9 * 64 * 256 / 1e6)


def test_units_that_do_not_share_out(program):
    """As if four threads took what there is."""
    wide = replace(program, options=replace(program.options, threads=61))
    found = large_convolutions(wide, steps_of(program, 1.5), LIMITS)
    assert any("units on 61 threads" in gap.reason for gap in found.gaps)


def test_a_copy_between_zeros_is_a_cause_as_long_as_it_took():
    text = "net t\ninput 64x14x14\nconv 1x1 256 relu\np: conv 3x3 512 /2\n"
    program = api.program(lang.parse(text), Options(("x86-64-v3",), threads=2))
    steps = steps_of(program, 2.0)
    at = next(i for i, call in enumerate(program.calls) if call.kernel.family == "pad")
    steps[at] = replace(steps[at], seconds=0.3 * steps[at + 1].seconds)
    (gap,) = (g for g in large_convolutions(program, steps, LIMITS).gaps if g.node.startswith("p"))
    (cause,) = (c for c in gap.causes if c.text == "rows copied between their padding")
    assert cause.seconds == pytest.approx(steps[at].seconds)
    assert gap.seconds == pytest.approx(steps[at].seconds + steps[at + 1].seconds)


def test_what_nothing_explains_is_said():
    gap = Gap("a", "conv", 100.0, 2e-3, 1e-3, (Cause("x", 0.25e-3),), 0.75e-3)
    assert gap.reason == "x: 0.250 ms; not explained: 0.750 ms"
    assert gap.to_json()["of_limit"] == 0.5
    assert replace(gap, unexplained=0.0).reason == "x: 0.250 ms"


def test_the_page_and_the_table_show_them(monkeypatch, capsys, tmp_path):
    work = (10**6, 10**6, 10**5, "float32", "compute", 1e-3)
    step = Step("a", "conv+relu", "conv_x", "conv", "because", 2e-3, 0.5, *work)
    gap = Gap("a<b", "conv", 100.0, 2e-3, 1e-3, (Cause("x", 0.25e-3),), 0.75e-3)
    made = Profile("t", "host", 1, 2, 30, (step,), 2.1e-3, 2e-3, 0.99, 1e12, {}, 1e10, large=Large(4, (gap,)))
    assert "a&lt;b <small>x: 0.250 ms; not explained: 0.750 ms</small>" in page(made)
    assert "1 of the 4 convolutions above 50 MFLOP run below 80% of their limit" in page(made)
    assert "Below their limit" not in page(replace(made, large=Large(4, ())))
    from cnncc.cli import profile as command

    command.show(made)
    printed = capsys.readouterr().out
    assert "3 of 4 above 50 MFLOP run at 80% of their limit or better; the others: --limits" in printed
    command.show(made, limits=True)
    printed = capsys.readouterr().out
    assert "because" not in printed
    assert "0.750 ms" in printed


def test_the_command(tmp_path, capsys):
    path = tmp_path / "t.net"
    path.write_text(NET)
    assert main(["profile", str(path), "--limits", "--runs", "3"]) == 0
    assert "above 50 MFLOP run at 80% of their limit or better" in capsys.readouterr().out
    assert main(["profile", str(path), "--json", "--runs", "3"]) == 0
    found = json.loads(capsys.readouterr().out)["large_convolutions"]
    assert (found["count"], found["near"], found["megaflops"]) == (3, NEAR, 50)
    assert all(gap["of_limit"] < NEAR for gap in found["below"])
