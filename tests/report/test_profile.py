"""`cnncc profile`: what a step has to do, its time, its limit, the table and the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from written import write_shared

from cnncc import api, lang, ops, weights
from cnncc.base.errors import CnnccError
from cnncc.cli import main
from cnncc.cli import profile as command
from cnncc.kernels.cpu.algorithms import ALGORITHMS
from cnncc.machines import targets
from cnncc.module.cpu.assemble import parse_glue
from cnncc.module.cpu.glue import steps_ir
from cnncc.options import Options
from cnncc.report.profile import Profile, Step, page, profile
from cnncc.report.profile import measure as measuring
from cnncc.report.profile.groups import by_op, by_stage
from cnncc.report.profile.machine_limits import MachineLimits, measure_limits
from cnncc.report.profile.measure import share_of_limit
from cnncc.report.profile.page import KINDS, WAYS, kind
from cnncc.report.profile.roofline import PlotAxis
from cnncc.report.profile.work import Work, works
from cnncc.runtime import cpu

NET = """net small
input 3x32x32 mean (0.5) std (0.25)
stem: conv 3x3 32 bn relu
add { conv 3x3 32 bn | }; relu
maxpool 2x2 /2
concat { conv 1x1 16 relu | conv 3x3 32 relu }
up: upconv 3x3 16 /2 pad 1 outpad 1
gap
fc 10 softmax
"""
WINOGRAD = "net w\ninput 64x28x28\nconv 1x1 64\nconv 3x3 64 relu\n"
WORK = (10**6, 10**6, 10**5, "float32", "compute", 1e-3)
STEP = Step("a", "conv+relu", "conv_x", "conv", "because", 2e-3, 0.5, *WORK)
STEPS = (STEP, replace(STEP, node="b", seconds=3e-3))
PROFILE = Profile("t", "host", 1, 2, 30, STEPS, 5.2e-3, 5e-3, 0.99, 1e12, {}, 1e10)


def build(text: str, **options):
    return api.build(weights.bind(lang.parse(text)), Options(**options))


@pytest.fixture(scope="module")
def small():
    return build(NET, threads=2, batch=2)


@pytest.fixture(scope="module")
def profiled(small) -> Profile:
    return profile(small, runs=20)


def test_every_call_is_a_step_with_its_reason(small, profiled):
    assert [(s.node, s.kernel, s.why) for s in profiled.steps] == small.kernels
    assert all(s.seconds > 0 and s.bytes > 0 and s.limit > 0 and s.why for s in profiled.steps)
    assert "conv+add+relu" in {s.op for s in profiled.steps}
    assert sum(s.share for s in profiled.steps) == pytest.approx(1)


def test_operations_of_all_steps_are_those_of_the_network(small, profiled):
    source = small.program.source
    macs = sum(ops.macs(source, n) for n in source.nodes)
    assert sum(s.direct_flops for s in profiled.steps) == pytest.approx(2 * macs, rel=1e-6)


def test_a_step_moves_weights_operands_and_result(small):
    program = small.program
    by_node = {c.node: w for c, w in zip(program.calls, works(program), strict=True)}
    pool = next(n for n in program.graph.nodes if n.op == "maxpool")
    assert by_node[pool.name].bytes == program.graph[pool.inputs[0]].type.nbytes + pool.type.nbytes
    assert (by_node[pool.name].flops, by_node[pool.name].direct_flops) == (0, 0)
    fc = next(n for n in program.graph.nodes if n.op == "fc")
    packed = {p.name: 4 * p.constant.shape[0] for p in program.selections[fc.name].weights}
    values = program.graph[fc.inputs[0]].type.nbytes + fc.type.nbytes
    assert by_node[fc.name].bytes == sum(packed.values()) + values


def test_phases_of_a_transposed_convolution_share_its_work_and_its_result():
    program = build("net t\ninput 8x9x9\nupconv 3x3 16 /2\n", threads=1).program
    phases = [w for c, w in zip(program.calls, works(program), strict=True) if c.kernel.family == "conv_direct"]
    assert len(phases) == 4
    assert len({w.flops for w in phases}) > 1
    assert sum(w.flops for w in phases) == pytest.approx(2 * 81 * 8 * 16 * 9, rel=0.1)


def test_winograd_counts_its_own_multiplications():
    program = build(WINOGRAD, threads=1, max_error=1e-3, batch=2).program
    calls = list(zip(program.calls, works(program), strict=True))
    ((config, work),) = [(c.kernel.config, w) for c, w in calls if c.kernel.family == "winograd"]
    transforms = [w for c, w in calls if c.kernel.family == "winograd_input"]
    assert work.flops == 2 * 2 * (config.m + 2) ** 2 * (-(-28 // config.m)) ** 2 * 64 * 64
    assert work.direct_flops == 2 * 2 * 28 * 28 * 9 * 64 * 64
    assert all(w.flops == w.direct_flops == 0 < w.bytes for w in transforms)


def test_stamps_cover_the_run_and_the_steps_add_up():
    """Some milliseconds on one thread: the call from Python is little, and no caller sleeps."""
    found = profile(
        build("net t\ninput 64x64x64\nconv 3x3 128 relu\nconv 3x3 128 relu\nmaxpool 2x2 /2\n", threads=1), runs=20
    )
    assert found.covered > 0.95
    assert found.total + found.interrupted == pytest.approx(found.whole, rel=0.05)


def test_without_stamps_nothing_of_them_is_emitted(small):
    plain, stamped = small.program, small.program.stamped()
    text = steps_ir(plain, "steps")
    assert "readcyclecounter" not in text
    assert "stamp" not in text
    stamped_text = steps_ir(stamped, "steps")
    parse_glue(stamped_text, stamped.target)
    assert len(re.findall(r"ptr %stamp\d+\)", stamped_text)) == len(plain.calls)
    assert stamped.arena_bytes == plain.arena_bytes + 8 * (len(plain.calls) + 1)


def test_a_stamped_run_computes_the_same(small):
    packed = small.weights()
    stamped = replace(small, program=small.program.stamped()).model(packed)
    image = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    assert stamped(image).tobytes() == small.model()(image).tobytes()


def test_limits_grow_with_the_vectors_and_are_measured_once(small):
    target = small.program.target
    limits = measure_limits(target, 1)
    assert limits.flops > limits.bytes > 0
    assert measure_limits(target, 1) is limits


def test_a_run_that_others_disturbed_does_not_count():
    seconds = np.array([3.0, 1.0, 9.0, 1.1, 1.2, 8.0, 1.3, 1.4, 7.0, 6.0])
    assert set(seconds[measuring.quiet(seconds)]) == {1.0, 1.1, 1.2, 1.3, 1.4}
    assert len(measuring.quiet(np.ones(100))) == 25
    assert len(measuring.quiet(np.ones(2))) == 2


@pytest.mark.parametrize(("flops", "size", "wanted"), [(100, 1, ("compute", 10)), (100, 50, ("memory", 25))])
def test_the_larger_limit_bounds(flops, size, wanted):
    assert measuring.bound(Work(flops, flops, size), MachineLimits(10, 2)) == wanted


def test_a_target_this_processor_lacks_is_refused(small, monkeypatch):
    monkeypatch.setattr(cpu, "features", frozenset)
    with pytest.raises(CnnccError, match=r"target host: this processor lacks .*avx"):
        profile(small)


def test_time_lost_to_others_is_said(capsys):
    command.show(PROFILE)
    assert "busy machine" not in capsys.readouterr().out
    command.show(replace(PROFILE, whole=10e-3))
    assert "busy machine 49% of the whole run is in no step's median" in capsys.readouterr().out


def test_slowest_first_or_in_order(capsys):
    def names(*options) -> list[str]:
        command.show(PROFILE, *options)
        return re.findall(r"^([ab]) +conv\+relu", capsys.readouterr().out, re.MULTILINE)

    assert names() == ["b", "a"]
    assert names(None, True) == ["a", "b"]
    assert names(1) == names(1, True) == ["b"]


def test_a_narrow_terminal_says_where_the_reasons_are(capsys, monkeypatch):
    command.show(PROFILE)
    assert "because" in capsys.readouterr().out
    monkeypatch.setattr("cnncc.cli.screen.PIPED_WIDTH", 100)
    command.show(PROFILE)
    printed = capsys.readouterr().out
    assert "because" not in printed
    assert "why each kernel was chosen: --json, --html, or a wider terminal" in printed


class Tags(HTMLParser):
    """What a page opens and closes, and where it points."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)


def test_the_page_is_whole_and_needs_nothing_else(profiled):
    text = page(profiled)
    tags = Tags(text)
    assert tags.open == []
    assert {link.partition("-")[0] for link in tags.links} == {"#step"}
    assert all(f'id="{link[1:]}"' in text for link in tags.links)
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert tags.seen.count("circle") == 2 * sum(s.flops > 0 for s in profiled.steps)  # for a screen and for a phone
    rows = len(profiled.steps) + len(by_op(profiled)) + len(by_stage(profiled)) + len(profiled.large.gaps)
    assert tags.seen.count("tr") == rows + tags.seen.count("table") + 1
    assert all(s.node in text and s.kernel in text for s in profiled.steps)
    assert not re.search(r"\bnan\b|\binf\b", text)


def test_the_page_escapes_and_says_if_the_machine_was_busy():
    odd = replace(PROFILE, whole=10e-3, steps=(replace(STEP, why='<"&'),))
    assert "&lt;&quot;&amp;" in page(odd)
    assert "a busy machine" in page(odd)


def test_a_network_that_multiplies_nothing_has_no_roofline():
    text = page(replace(PROFILE, steps=(replace(STEP, algorithm="maxpool", flops=0),)))
    assert "Roofline" not in text
    Tags(text)


def test_every_step_has_a_colour():
    words = [("winograd", "conv+relu"), ("direct", "conv"), ("gap", "gap"), ("lrn", "lrn+relu")]
    assert [kind(replace(STEP, algorithm=a, op=op)) for a, op in words] == ["way1", "conv", "pool", "other"]
    assert all(f"--{k}:" in page(PROFILE) for k in (*KINDS, *WAYS))


def test_an_algorithm_that_is_added_has_a_colour_and_a_name_of_its_own(monkeypatch):
    direct = ALGORITHMS["conv"][-1]
    monkeypatch.setitem(ALGORITHMS, "conv", (*ALGORITHMS["conv"][:-1], replace(direct, name="fft"), direct))
    steps = tuple(replace(STEP, op="conv", algorithm=a) for a in ("direct", "winograd", "fft"))
    assert [kind(s) for s in steps] == ["conv", "way1", "way3"]
    text = page(replace(PROFILE, steps=steps))
    for colour, meaning in [("conv", "convolution"), ("way1", "convolution, winograd"), ("way3", "convolution, fft")]:
        assert f"<i class='{colour}'></i>{meaning}<" in text


@pytest.mark.parametrize(
    ("reached", "bound", "text"),
    [(0.8, "memory", "80%"), (1.0, "memory", "100%"), (9.98, "memory", "from cache"), (1.02, "compute", "102%")],
)
def test_beyond_the_limit_of_memory_a_share_says_nothing(reached, bound, text):
    assert share_of_limit(reached, bound) == text
    step = replace(STEP, bound=bound, limit=reached, seconds=1.0)
    assert step.limit_share == text
    assert f">{text}</td>" in page(replace(PROFILE, steps=(step,)))


def test_time_by_op_and_by_stage():
    names = ("a.0", "b.0", "a.1", "c")
    ops = ("conv+relu", "conv", "maxpool", "conv")
    steps = [
        replace(STEP, node=n, op=o, algorithm=o.partition("+")[0], seconds=float(i), share=i / 10, limit=1.0)
        for i, (n, o) in enumerate(zip(names, ops, strict=True), start=1)
    ]
    steps[3] = replace(steps[3], algorithm="winograd")  # as `conv`, computed so
    found = replace(PROFILE, steps=tuple(steps))
    assert [(g.name, g.steps, g.seconds) for g in by_stage(found)] == [("a", 2, 4.0), ("b", 1, 2.0), ("c", 1, 4.0)]
    ops_found = [(g.name, g.steps, g.seconds) for g in by_op(found)]
    assert ops_found == [("conv, winograd", 1, 4.0), ("conv", 2, 3.0), ("maxpool", 1, 3.0)]
    assert sum(g.share for g in by_op(found)) == pytest.approx(1.0)


def test_a_logarithmic_axis():
    axis = PlotAxis(0.5, 200, 0, 100)
    assert (axis.at(0.5), axis.at(200), axis.at(10)) == pytest.approx((0, 100, 50))
    assert axis.ticks((1, 2, 5)) == pytest.approx([0.5, 1, 2, 5, 10, 20, 50, 100, 200])


def run_cli(*argv: object) -> int:
    return main(["profile", *map(str, argv)])


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "small.net"
    path.write_text(NET)
    return path


def test_the_command(net, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert run_cli(net, "--runs", 3, "--batch", 2, "--json", "--html", out) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["name"], data["batch"], data["runs"]) == ("small", 2, 3)
    assert {"whole", "unstamped", "steps", "limit", "interrupted"} == data["seconds"].keys()
    wanted = {"node", "op", "kernel", "why", "seconds", "share", "gflops", "bytes", "bound", "of_limit"}
    assert all(wanted <= step.keys() for step in data["steps"])
    assert out.read_text().startswith("<!doctype html>")
    assert run_cli(net, "--runs", 3, "--top", 2, "--html", out) == 0
    printed = capsys.readouterr().out
    assert "(2 shown)" in printed
    assert f"written      {out}" in printed


def test_a_page_that_cannot_be_written_is_named(net, tmp_path, capsys):
    assert run_cli(net, "--runs", 1, "--html", tmp_path / "no" / "page.html") == 2
    assert re.search(r"cannot write \S+page.html: folder \S+no does not exist", capsys.readouterr().err)


def test_a_module_is_timed_as_a_whole(net, tmp_path, capsys, small):
    module, _ = write_shared(small, tmp_path / "small.so")
    assert run_cli(module, "--threads", 1, "--runs", 3) == 0
    assert re.match(r"small: [\d.]+ ms a run, 3 runs, threads 1\n[\d.]+ GFLOP/s", capsys.readouterr().out)
    assert run_cli(module, "--json", "--runs", 3) == 0
    assert '"unstamped"' in capsys.readouterr().out
    assert run_cli(module, "--batch", 2, "--seed", 1) == 2
    assert "takes no --batch, --seed: such options are for a network" in capsys.readouterr().err
    assert run_cli(module, "--threads", 99) == 2
    assert re.search(r"was compiled for \d+ threads at most, got 99", capsys.readouterr().err)
    assert run_cli(module, "--html", tmp_path / "x.html") == 2
    assert "--html needs the steps, and a compiled module is timed as a whole" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_each_type_has_its_limit(dtype, capsys):
    """Products of bytes are held to what the machine does with bytes. A processor without the unit says so."""
    unit = targets.host().dots if dtype == "int8" else targets.host().pairs
    command = ["-q", "profile", "lenet5", "--dtype", dtype, "--runs", "3", "--json"]
    if unit is None:
        assert main(command) == 2
        assert f"has no instruction that multiplies {dtype}" in capsys.readouterr().err
        return
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["peaks"]) == [dtype]
    assert told["peaks"][dtype] > 0
    convolutions = [s for s in told["steps"] if s["node"].startswith("conv3") and s["flops"]]
    for step in convolutions:
        assert step["element"] == dtype
        bound = {"compute": step["flops"] / told["peaks"][dtype], "memory": step["bytes"] / told["bandwidth"]}
        assert step["limit"] == pytest.approx(bound[step["bound"]])
    assert convolutions


def test_the_plot_has_a_roof_for_each_type():
    page_text = page(replace(PROFILE, peaks={"int8": 4e12}))
    assert "4000 G of int8/s" in page_text
    assert "1000 GFLOP/s" in page_text
