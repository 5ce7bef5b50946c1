"""`cnncc bench`: options, statistics, what is refused, and competitors that fail. The runs here are very short."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import cnncc as package
from cnncc import bench, lang, weights
from cnncc.base import extras
from cnncc.base.errors import CnnccError
from cnncc.bench import peers
from cnncc.bench.contest import order
from cnncc.bench.engines import refuse_unknown_layers
from cnncc.bench.figures import difference, times
from cnncc.bench.others import Others
from cnncc.bench.worker import Turn, Worker, why_it_ended
from cnncc.cli import main
from cnncc.options import Options

NET = """net small
input a 3x16x16 mean (0.5) std (0.25)
conv 3x3 8 bn relu
save x
maxpool 2x2 /2
fc 5
output x
output
"""
SHORT = ("--rounds", "2", "--seconds", "0.02")


def turn(*milliseconds: float, outputs=(1.0, -2.0)) -> Turn:
    return Turn([ms / 1e3 for ms in milliseconds], [np.array(outputs, np.float32)])


@pytest.fixture
def job(tmp_path) -> bench.Job:
    return bench.write_job(weights.bind(lang.parse(NET)), tmp_path, Options(batch=2, threads=1))


@pytest.fixture
def made(job) -> bench.Contest:
    """A contest as if it had been: ours, a slower one, a faster one with another answer, one that crashed."""
    ours = [turn(1, 1, 1), turn(2, 2, 2)]
    slower = [turn(2, 2, 2), turn(3, 3, 9)]
    wrong = [turn(0.1), turn(0.1, outputs=(1.0, -2.1))]
    return bench.Contest(
        job,
        about={"cnncc": "cnncc 1", "onnxruntime": "ONNX Runtime 1", "openvino": "OpenVINO 1"},
        turns={"cnncc": ours, "openvino": wrong, "onnxruntime": slower},
        failed={"mnn": "its process was ended by SIGSEGV"},
        others=0.07,
    )


def test_rounds_weigh_the_same_and_ratios_are_within_rounds():
    found = times([turn(1, 1, 5), turn(2, 2, 2)], [turn(3, 2, 1, 2, 2), turn(6, 6, 6)])
    assert found.median_ms == pytest.approx(4)
    assert found.p15_ms == pytest.approx(np.percentile([1, 2, 2, 2, 3, 6, 6, 6], 15))
    assert found.runs == 8
    assert (found.ratio_low, found.ratio, found.ratio_high) == pytest.approx((2, 2.5, 3))


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ((1.0, -2.0), 0.0),
        ((1.0, -2.5), 0.25),
        ((1.0, math.nan), math.inf),
        ((1.0, -math.inf), math.inf),
        ((1.0,), math.inf),
        ((1.0, -2.0, 0.0), math.inf),
    ],
)
def test_difference(theirs, expected):
    assert difference([turn(1)], [turn(1, outputs=theirs)]) == expected


def test_difference_of_outputs_that_are_zero_or_too_few():
    zero = turn(1, outputs=(0.0, 0.0))
    assert difference([zero], [zero]) == 0
    assert difference([zero], [turn(1)]) == math.inf
    assert difference([turn(1)], [Turn([1e-3], [])]) == math.inf


def test_shapes_may_differ_by_axes_of_size_one():
    column = Turn([1e-3], [np.array([[1.0], [-2.0]], np.float32)])
    assert difference([turn(1)], [column]) == 0


def test_only_peers_with_the_same_answer_can_be_the_best(made):
    result = bench.result(made)
    assert [c.name for c in result.competitors] == ["cnncc", "onnxruntime", "openvino", "mnn"]
    assert result.best is result.competitors[1]
    assert result.ahead == pytest.approx(1.75)
    assert result.ours.median_ms == pytest.approx(1.5)
    assert (
        result.competitors[2].problem
        == "another answer: off by 5.00e-02 of the largest output, allowed 1e-04; not counted"
    )
    assert result.competitors[3].problem == "its process was ended by SIGSEGV"
    assert result.disturbed


def test_a_less_accurate_peer_counts_but_confirms_nothing(made):
    made.turns["openvino"][1].outputs[0][:] = (1.0, -2.001)
    result = bench.result(made)
    assert result.best is result.competitors[2]
    assert result.competitors[2].problem.startswith("less accurate: off by 5.00e-04 of the largest output, allowed")
    assert result.confirmed
    del made.turns["onnxruntime"]
    assert not bench.result(made).confirmed


def test_without_a_peer_that_agrees_there_is_no_best(made):
    del made.turns["onnxruntime"]
    result = bench.result(made)
    assert (result.best, result.ahead, result.confirmed) == (None, None, False)
    assert bench.geometric_mean([result]) is None


def test_geometric_mean(made):
    result = bench.result(made)
    twice = replace(result, competitors=(result.competitors[0], result.competitors[1]))
    assert bench.geometric_mean([result, twice]) == pytest.approx(1.75)


def test_json_has_no_number_that_json_lacks(made):
    made.turns["openvino"][1].outputs[0][:] = math.nan
    text = json.dumps(bench.result(made).to_json(), allow_nan=False)
    found = json.loads(text)
    assert (found["net"], found["best"], found["others"]) == ("small", "onnxruntime", 0.07)
    assert [c["difference"] for c in found["competitors"]] == [0.0, 0.0, None, None]
    assert found["competitors"][3]["times"] is None


def test_everyone_is_first_and_last_equally_often():
    names = ["a", "b", "c"]
    rounds = [list(order(names, i)) for i in range(6)]
    assert all(sorted(r) == names for r in rounds)
    assert sorted(r[0] for r in rounds) == sorted(r[-1] for r in rounds) == sorted(2 * names)


@pytest.mark.parametrize(
    ("code", "log", "text"),
    [
        (-11, "", "its process was ended by SIGSEGV"),
        (-6, "noise\nno such layer\n\n", "its process was ended by SIGABRT: no such layer"),
        (3, "", "its process ended with code 3"),
        (
            1,
            "noise\nTraceback (most recent call last):\n  File x, line 1\n    f()\nRuntimeError: bad\nop Foo\n",
            "its process ended with code 1: RuntimeError: bad op Foo",
        ),
    ],
)
def test_why_a_process_ended(code, log, text):
    assert why_it_ended(code, log) == text
    assert len(why_it_ended(1, "word " * 1000)) <= 300


def test_a_layer_that_ncnn_lacks(tmp_path):
    param = tmp_path / "x.param"
    param.write_text("7767517\n2 2\nInput in0 0 1 in0\nF.avg_pool2d p 1 1 in0 out0\n")
    refuse_unknown_layers(param, lambda kind: 0)
    with pytest.raises(CnnccError, match=r"layers that ncnn lacks: F\.avg_pool2d"):
        refuse_unknown_layers(param, lambda kind: 0 if kind == "Input" else -1)


def test_others_see_a_busy_process_but_not_the_one_in_turn():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        mine, theirs = Others(), Others()
        for others, pid in ((mine, busy.pid), (theirs, os.getpid())):
            with others.turn(pid):
                time.sleep(0.3)
    finally:
        busy.kill()
        busy.wait()
    assert 0 <= mine.share <= 1
    assert theirs.share > 0
    assert Others().share == 0


def refused(capsys, *argv: str) -> str:
    """What a refused command line prints; it must not run."""
    try:
        code = main(["bench", *argv])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["lenet5", "--vs", "onnxruntim"], "no competitor 'onnxruntim'\n  hint: did you mean 'onnxruntime'?"),
        (["lenet5", "--vs", ","], "argument --vs: expected at least one name"),
        (["lenet5", "--rounds", "0"], "argument --rounds: expected a whole number of at least 1"),
        (["lenet5", "--seconds", "0"], "argument --seconds: expected a number above 0"),
        (["lenet5", "--seconds", "nan"], "argument --seconds: expected a number above 0"),
        (["lenet5", "--dtype", "int8", "--vs", "mnn"], "mnn takes no ONNX model on bytes"),
        (
            ["lenet5", "--dtype", "float16"],
            "unknown value 'float16': expected float32, bfloat16, int8",
        ),
        ([], "name the networks to measure, or say --zoo"),
        (["lenet5", "--zoo"], "name the networks to measure, or say --zoo"),
        (["lenet5", "resnet18", "--weights", "w"], "--weights is a file for one network, and 2 are named"),
        (["nothing.net", "--vs", "onnxruntime"], "nothing.net"),
    ],
)
def test_refused(capsys, argv, text):
    assert text in refused(capsys, *argv)


def test_a_named_peer_that_is_not_installed(capsys, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in ("ncnn", "pnnx") else object())
    text = refused(capsys, "lenet5", "--vs", "onnxruntime,ncnn")
    assert "not installed: ncnn needs ncnn, pnnx\n  hint: pip install" in text
    assert bench.installed() == ["onnxruntime", "openvino", "mnn", "torch", "torch_compile", "executorch"]
    assert bench.require(["mnn", "openvino", "mnn"]) == ["mnn", "openvino"]


def test_nothing_installed(capsys, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    text = refused(capsys, "lenet5")
    assert "none of onnxruntime, openvino, mnn, ncnn, torch, torch_compile, executorch is installed" in text
    assert extras.install("bench") in text


def test_the_extra_has_every_package(request):
    text = (Path(request.config.rootpath) / "pyproject.toml").read_text()
    for name, packages in bench.PEERS.items():
        extras = ("bench", "bench-torch") if name in peers.OF_PYTORCH else ("bench",)
        named = "".join(text.partition(f"\n{extra} = [")[2].partition("]\n")[0] for extra in extras)
        assert [package for package in packages if f'"{package}' not in named] == []


def test_how_to_get_a_peer_of_pytorch(capsys, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "torch" else object())
    text = refused(capsys, "lenet5", "--vs", "openvino,torch_compile")
    assert f"not installed: torch_compile needs torch\n  hint: {extras.install('bench-torch')}" in text


def test_the_zoo_is_that_of_the_models(request):
    models = Path(request.config.rootpath) / "models"
    assert [name for name in bench.ZOO if not (models / f"{name}.net").exists()] == []


def test_a_peer_that_cannot_take_the_network(job):
    job.onnx.write_bytes(b"no model")
    result = bench.contest(job, ["onnxruntime"], rounds=1, seconds=0.01)
    assert list(result.turns) == ["cnncc"]
    assert result.failed["onnxruntime"].startswith("its process ended with code 1: onnxruntime.")
    assert bench.result(result).best is None


def test_cnncc_must_take_the_network(job):
    job.net.write_text("net broken\n")
    with pytest.raises(CnnccError, match=r"net\.net"):
        bench.contest(job, [], rounds=1, seconds=0.01)


def test_a_peer_that_dies_on_the_way(job, monkeypatch):
    after = []

    def dying(self, arrays, seconds):
        if after and self.pid != after[0]:
            os.kill(self.pid, signal.SIGKILL)
        after.append(self.pid)
        return alive(self, arrays, seconds)

    alive = Worker.turn
    monkeypatch.setattr(Worker, "turn", dying)
    result = bench.contest(job, ["onnxruntime"], rounds=2, seconds=0.01)
    assert result.failed == {"onnxruntime": "its process was ended by SIGKILL"}
    assert len(result.turns["cnncc"]) == 2


@pytest.mark.parametrize("name", bench.PEERS)
def test_each_peer_gives_our_answer(job, name):
    if any(find_spec(package) is None for package in bench.PEERS[name]):
        pytest.skip(f"{name} is not installed")
    found = bench.result(bench.contest(job, [name], rounds=1, seconds=0.01))
    assert [(c.name, c.problem) for c in found.competitors] == [("cnncc", ""), (name, "")]
    assert found.ahead


def test_a_real_run(capfd):
    assert main(["bench", "lenet5", "--vs", "onnxruntime", *SHORT]) == 0
    out = capfd.readouterr().out
    assert "float32, batch 1, threads " in out
    assert "ahead of the best, ONNX Runtime " in out
    assert "taken by other processes: " in out


def test_several_networks_and_json(capfd, tmp_path):
    path = tmp_path / "small.net"
    path.write_text(NET)
    argv = ["bench", "lenet5", str(path), "--vs", "onnxruntime", "--threads", "1", *SHORT]
    assert main(argv) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[4].split() == ["network", "cnncc", "ms", "onnxruntime", "ms", "ahead", "best"]
    assert [line.split()[0] for line in lines[5:7]] == ["lenet5", "small"]
    assert "geometric mean of 2 networks" in lines[7]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["threads"], found["rounds"], found["vs"]) == (1, 2, ["onnxruntime"])
    assert [net["best"] for net in found["nets"]] == ["onnxruntime", "onnxruntime"]
    assert found["geometric_mean"] > 0


def judged(contest: bench.Contest, judge: str) -> bench.Contest:
    """The same where a judge has the exact answer, from which ours is off by about 60 dB."""
    contest.job = replace(contest.job, judge=judge)
    contest.turns[judge] = [turn(3, 3, outputs=(1.0, -2.002)), turn(4, outputs=(1.0, -2.002))]
    contest.about[judge] = "cnncc 1, float32"
    return contest


@pytest.mark.parametrize(
    ("theirs", "problem", "counts"),
    [
        (-2.0040, "", True),
        (-2.0020, "more accurate: 150.0 dB from the exact answer, cnncc 61.0 dB; its time counts", True),
        (-2.0100, "less accurate: 48.9 dB from the exact answer, cnncc 61.0 dB; its time counts", True),
        (-2.1000, "another answer: 27.2 dB from the exact answer, cnncc 61.0 dB; not counted", False),
        (math.nan, "another answer: -150.0 dB from the exact answer, cnncc 61.0 dB; not counted", False),
    ],
)
def test_where_nobody_is_exact_each_has_its_distance_from_who_is(made, theirs, problem, counts):
    for each in made.turns["openvino"]:
        each.outputs[0][:] = (1.0, theirs)
    del made.turns["onnxruntime"]
    result = bench.result(judged(made, "float32"))
    ours, exact, openvino = result.competitors[:3]
    assert (ours.name, exact.name, openvino.name) == ("cnncc", "float32", "openvino")
    assert ours.decibels == pytest.approx(60.97, abs=0.01)
    assert (openvino.problem, openvino.counts) == (problem, counts)
    assert result.best is (openvino if counts else None)
    assert result.confirmed == (theirs > -2.005)
    assert result.gain == pytest.approx(2.5)


def test_the_judge_is_no_peer(made):
    """It is the fastest here, and gives its own answer, and neither counts."""
    judged(made, "literal").turns["literal"] = [turn(0.01), turn(0.01)]
    result = bench.result(made)
    assert result.best is not None
    assert result.best.name == "onnxruntime"
    assert result.gain is None


def test_int8_beside_float32_and_peers(capfd, tmp_path):
    path = tmp_path / "small.net"
    path.write_text(NET)
    assert main(["bench", str(path), "--dtype", "int8", "--vs", "onnxruntime", *SHORT, "--json"]) == 0
    printed = capfd.readouterr()
    assert "ranges are those of random images: good for its speed, not for its answers" in printed.err
    (net,) = json.loads(printed.out)["nets"]
    ours, exact, peer = net["competitors"]
    assert [c["name"] for c in net["competitors"]] == ["cnncc", "float32", "onnxruntime"]
    assert exact["about"].endswith(", float32")
    assert ours["decibels"] > 20
    assert abs(peer["decibels"] - ours["decibels"]) < 6
    assert net["gain"] > 0


def test_int8_of_an_onnx_model_gives_peers_the_bytes(capfd, tmp_path):
    """Not the model itself, which is float32."""
    net, model = tmp_path / "small.net", tmp_path / "small.onnx"
    net.write_text(NET.replace("output x\noutput\n", ""))
    assert main(["-q", "export", str(net), "-o", str(model)]) == 0
    assert main(["bench", str(model), "--dtype", "int8", "--vs", "onnxruntime", *SHORT, "--json"]) == 0
    (told,) = json.loads(capfd.readouterr().out)["nets"]
    ours, _, peer = told["competitors"]
    assert abs(peer["decibels"] - ours["decibels"]) < 6, "in float32 it would be exact"


def test_a_peer_that_is_exact_is_a_witness(made):
    made.turns["openvino"] = [turn(5, outputs=(1.0, -2.002)), turn(5, outputs=(1.0, -2.002))]
    del made.turns["onnxruntime"]
    result = bench.result(judged(made, "float32"))
    assert result.competitors[2].problem.startswith("more accurate")
    assert result.confirmed
    for each in made.turns["cnncc"]:
        each.outputs[0][:] = (0.0, 1.0)
    assert not bench.result(made).confirmed, "ours is nowhere near"


def test_a_model_on_bytes_is_judged_by_its_definition(capfd, tmp_path):
    net, scales, model = tmp_path / "small.net", tmp_path / "q.safetensors", tmp_path / "q.onnx"
    net.write_text(NET)
    images = np.random.default_rng(0).standard_normal((2, 3, 16, 16), np.float32)
    package.quantize(net, images, seed=0).save(scales)
    assert main(["-q", "export", str(net), "--weights", str(scales), "-o", str(model)]) == 0
    assert main(["bench", str(model), "--vs", "onnxruntime", *SHORT]) == 0
    assert "unoptimised" in capfd.readouterr().out
    assert main(["bench", str(model), str(net), "--vs", "onnxruntime", *SHORT]) == 0
    table = capfd.readouterr().out.splitlines()[4:7]
    assert table[0].split() == ["network", "cnncc", "ms", "exact", "ms", "onnxruntime", "ms", "ahead", "best"]
    assert [len(row.split()) for row in table[1:]] == [6, 6]
    assert table[2].split()[2] == "-"


def test_a_network_without_an_answer_to_compare_exits_1(capfd, made, monkeypatch):
    del made.turns["onnxruntime"]
    monkeypatch.setattr(bench, "contest", lambda *args: made)
    assert main(["bench", "lenet5", "--vs", "onnxruntime"]) == 1
    printed = capfd.readouterr()
    assert "OpenVINO 1: another answer: off by 5.00e-02" in printed.out
    assert "MNN: its process was ended by SIGSEGV" in printed.out
    assert "warning: small: other processes took 7% of the machine" in printed.err
