"""`cnncc compile`, `info`, `run`, `check`: a network becomes a module that says what it is and does what it should."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image
from written import write_shared

from cnncc import api, lang, machines, weights
from cnncc.base.errors import CnnccError
from cnncc.module import phases
from cnncc.module.cpu.build import Build
from cnncc.report.check import CheckReport, LayerCheck

NET = """net tiny
input 1x8x8
conv1: conv 3x3 4 bn relu
maxpool 2x2 /2
fc 10 softmax
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.net"
    path.write_text(NET)
    np.save(tmp_path / "x.npy", np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8))
    return path


def test_stop_after_prints_the_graph_and_compiles_nothing(cnncc, net):
    first, second = (cnncc("compile", net, "--stop-after", name) for name in ("infer_shapes", "fold_batchnorm"))
    assert (first.code, second.code) == (0, 0)
    assert "bn" in first.out
    assert len(second.out.splitlines()) == len(first.out.splitlines()) - 1
    assert sorted(p.name for p in net.parent.iterdir()) == ["tiny.net", "x.npy"]


def test_stop_after_the_layouts_shows_the_targets_blocks(cnncc, net):
    assert "1x4x8x8:c16" in cnncc("compile", net, "--stop-after", "assign_layouts").out


def test_an_unknown_phase_lists_the_phases(cnncc, net):
    result = cnncc("compile", net, "--stop-after", "fold_batchnrom")
    assert result.code == 2
    assert "no phase is named 'fold_batchnrom'" in result.err
    assert "did you mean 'fold_batchnorm'?" in result.err


def test_dump_writes_one_file_per_phase(cnncc, net, tmp_path):
    dump = tmp_path / "deep" / "dump"
    assert cnncc("compile", net, "--dump", dump, "--stop-after", "assign_layouts").code == 0
    done = phases.names()[: phases.names().index("assign_layouts") + 1]
    assert sorted(p.name for p in dump.iterdir()) == [f"{i:02}_{name}.txt" for i, name in enumerate(done)]


@pytest.mark.parametrize("name", phases.names())
def test_stop_after_takes_every_phase_and_help_tells_them(cnncc, net, name):
    result = cnncc("compile", net, "--stop-after", name)
    assert (result.code, result.out.startswith("graph tiny\n")) == (0, True)
    assert ("bytes from its start:" in result.out) == (name == "plan_arena")
    told = cnncc("compile", "--help").out.split("phases, in order: ")[1]
    assert name in told


def test_compile_writes_module_and_header_and_says_what_next(cnncc, net, tmp_path):
    result = cnncc("compile", net)
    warning = "cnncc: warning: no weights for tiny: using random, seed 0; give --weights FILE\n"
    assert (result.code, result.err) == (0, warning)
    assert (tmp_path / "tiny.so").is_file()
    assert (tmp_path / "tiny.h").is_file()
    assert ", random, seed 0; kernels: " in result.out
    assert "next: cnncc run tiny.so IMAGE" in result.out


def test_emit_names_each_file_after_the_first(cnncc, net, tmp_path):
    result = cnncc("compile", net, "-o", "out/lib.x", "--emit", "a,hpp", "--weights-external")
    assert result.code == 2
    (tmp_path / "out").mkdir()
    data = cnncc("compile", net, "-o", "out/lib.x", "--emit", "a,hpp", "--weights-external", "--json").json
    wanted = {"a": "out/lib.x", "hpp": "out/lib.hpp", "h": "out/lib.h", "weights": "out/lib.weights"}
    assert data["files"] == wanted
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["lib.h", "lib.hpp", "lib.weights", "lib.x"]
    assert '#include "lib.h"' in (tmp_path / "out/lib.hpp").read_text()


def test_a_name_without_an_ending_gets_one_for_each_kind(cnncc, net, tmp_path):
    result = cnncc("compile", net, "-o", "base", "--emit", "o,asm,ll")
    assert result.code == 0
    assert {p.name for p in tmp_path.glob("base*")} == {"base.o", "base.s", "base.ll"}
    assert "next:" not in result.out


def test_several_targets_share_a_module(cnncc, net):
    data = cnncc("compile", net, "--target", "x86-64-v2,x86-64-v3", "--json").json
    assert data["target"] == "x86-64-v2,x86-64-v3"
    info = cnncc("info", "tiny.so", "--json").json
    assert info["target"]["name"] == "x86-64-v3,x86-64-v2"
    assert "avx2" not in info["target"]["requires"]
    assert cnncc("run", "tiny.so", "x.npy").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "x86-64-v3,x86-64-v3"), "two of them require the same features, so one would never be taken"),
        (("--target", "x86-64-v2,x86-64-v3", "--emit", "asm"), "--emit asm takes one target, got x86-64-v2,x86-64-v3"),
        (("--target", "x86-64-v2,nothing"), "unknown target 'nothing'"),
    ],
)
def test_targets_that_cannot_share_a_module(cnncc, net, options, message):
    result = cnncc("compile", net, *options)
    assert result.code == 2
    assert message in result.err


def test_unknown_kinds_are_told(cnncc, net):
    result = cnncc("compile", net, "--emit", "so,exe")
    assert result.code == 2
    assert "unknown kind 'exe'; known: so, a, o, h, hpp, ll, asm" in result.err


@pytest.mark.parametrize(
    ("target", "option", "message"),
    [
        (
            "x86-64-v2",
            ("--emit", "cu"),
            "--emit cu: target x86-64-v2 has none\n  hint: known: so, a, o, h, hpp, ll, asm\n",
        ),
        (
            "cuda-sm_90",
            ("--weights-external",),
            "--weights-external: target cuda-sm_90 keeps the weights in the module\n"
            "  hint: leave --weights-external out\n",
        ),
    ],
)
def test_files_that_a_target_has_not_are_refused_before_the_work(cnncc, net, monkeypatch, target, option, message):
    monkeypatch.setattr("cnncc.api.build", lambda *_: pytest.fail("compiled before the refusal"))
    result = cnncc("compile", net, "--target", target, *option)
    assert (result.code, result.err) == (2, f"cnncc: {message}")


def test_info_tells_flags_and_weights(cnncc, net):
    cnncc("compile", net, "--batch", 2, "--max-error", "1e-4", "--threads", 1, "--weights-external")
    out = " ".join(cnncc("info", "tiny.so").out.split())
    assert "flags batch 2, threads 1, max-error 0.0001, weights-dtype float32, dtype float32, tuned no" in out
    assert "in the file tiny.weights " in out
    info = cnncc("info", "tiny.so", "--json").json
    assert info["flags"]["batch"] == 2
    assert len(info["weights"]["blake2b"]) == 64
    assert set(info["compiler"]) == {"cnncc", "apache-tvm", "llvmlite", "llvm", "kernels_sha256"}


def test_compile_json_names_the_kernels(cnncc, net, tmp_path):
    data = cnncc("compile", net, "-o", tmp_path / "a.so", "--json").json
    assert data["module"] == str(tmp_path / "a.so")
    assert data["header"] == str(tmp_path / "a.h")
    assert data["bytes"] == (tmp_path / "a.so").stat().st_size
    assert all(k["node"] and k["kernel"] and k["why"] for k in data["kernels"])


def test_an_unknown_target_lists_the_targets(cnncc, net):
    result = cnncc("compile", net, "--target", "x86-64-v33")
    assert result.code == 2
    assert "did you mean 'x86-64-v3'?" in result.err


def test_an_output_directory_that_is_not_there_is_one_message(cnncc, net, tmp_path):
    result = cnncc("compile", net, "-o", tmp_path / "nowhere" / "a.so")
    assert result.code == 2
    assert "nowhere" in result.err
    assert "Traceback" not in result.err


def test_info_of_a_module(cnncc, net):
    cnncc("compile", net)
    data = cnncc("info", "tiny.so", "--json").json
    assert data["name"] == "tiny"
    lines = cnncc("info", "tiny.so").out.splitlines()
    assert max(map(len, lines)) <= 100
    rows = {line[:12].strip(): line[13:] for line in lines}
    assert rows["input"] == "input 1x1x8x8 float32"
    assert rows["output"].endswith(" 1x10 float32")
    assert rows["runs here"] == "yes"
    assert rows["kernels"].endswith("--json lists them and why each was picked")


def test_info_of_a_module_for_another_processor(cnncc, net, monkeypatch):
    cnncc("compile", net)
    monkeypatch.setattr("cnncc.runtime.cpu.missing", lambda wanted: ["avx99"])
    assert "runs here    no, this processor lacks avx99" in cnncc("info", "tiny.so").out


@pytest.mark.parametrize("content", [None, b"no library"])
def test_info_of_something_else_is_one_message(cnncc, tmp_path, content):
    path = tmp_path / "x.so"
    if content:
        path.write_bytes(content)
    result = cnncc("info", path)
    assert result.code == 2
    assert str(path) in result.err


def test_run_prints_the_best_classes(cnncc, net):
    result = cnncc("run", net, "x.npy", "--top", 3)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("x.npy  (")
    assert lines[1].endswith("softmax  10")
    assert len(lines) == 5
    assert "using random, seed 0; give --weights FILE" in result.err


def test_run_gives_the_same_from_text_and_from_module(cnncc, net, tmp_path):
    cnncc("compile", net)
    outputs = []
    for model in (net, "tiny.so"):
        assert cnncc("run", model, "x.npy", "-o", "y.npy").code == 0
        outputs.append(np.load(tmp_path / "y.npy"))
    assert outputs[0].shape == (1, 10)
    np.testing.assert_array_equal(*outputs)


def test_run_on_several_files_and_labels(cnncc, net, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps([f"digit {i}" for i in range(10)]))
    data = cnncc("run", net, "x.npy", "x.npy", "--labels", "labels.json", "--json").json
    assert [result["inputs"] for result in data] == [["x.npy"], ["x.npy"]]
    best = data[0]["outputs"][0]["top"]
    assert len(best) == 5
    assert best[0]["label"] == f"digit {best[0]['index']}"
    assert [row["value"] for row in best] == sorted((row["value"] for row in best), reverse=True)


def test_run_a_module_for_batches_takes_images_in_groups(cnncc, net):
    cnncc("compile", net, "--batch", 2, "-o", "two.so")
    one = cnncc("run", net, "x.npy", "--json").json[0]["outputs"]
    data = cnncc("run", "two.so", "x.npy", "x.npy", "--json").json
    assert [result["outputs"][0]["top"][0]["index"] for result in data] == [one[0]["top"][0]["index"]] * 2
    odd = cnncc("run", "two.so", "x.npy", "x.npy", "x.npy", "--json").json
    assert [result["outputs"] for result in odd] == [data[0]["outputs"]] * 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("short.txt", "a\nb\n", "--labels names 2 classes, the network has 10"),
        ("bad.json", "{", "bad.json: not a list of class names"),
        ("map.json", "{}", "map.json: expected a JSON list of class names, got dict"),
    ],
)
def test_run_refuses_labels_that_do_not_fit(cnncc, net, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    result = cnncc("run", net, "x.npy", "--labels", name)
    assert result.code == 2
    assert message in result.err


def test_run_writes_the_results_of_all_inputs(cnncc, net, tmp_path):
    assert cnncc("run", net, "x.npy", "x.npy", "-o", "y.npy").code == 0
    first, second = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(first, second)


def test_stop_after_prints_json(cnncc, net):
    data = cnncc("compile", net, "--stop-after", "fold_batchnorm", "--json").json
    assert (data["name"], data["stop_after"]) == ("tiny", "fold_batchnorm")
    conv = next(node for node in data["nodes"] if node["op"] == "conv")
    assert (conv["type"], conv["attrs"]["kernel"], conv["inputs"]) == ("1x4x8x8", [3, 3], ["input"])
    assert data["outputs"] == [data["nodes"][-1]["name"]]


def test_stop_after_the_plan_says_in_json_where_each_value_lies(cnncc, net):
    net.write_text(NET.replace("fc 10", "add { | const c 4x4x4 }\nfc 10"))
    data, told = (cnncc("compile", net, "--stop-after", "plan_arena", *more) for more in (["--json"], []))
    head, *lines = told.out.split("\n\n")[-1].strip().splitlines()
    arena = data.json["arena"]
    assert head.startswith(f"arena of {arena['bytes']} bytes, at least {arena['bound']};")
    assert 0 < arena["bound"] <= arena["bytes"]
    assert [line(node) for node in data.json["nodes"]] == lines
    places = [node["place"]["in"] for node in data.json["nodes"]]
    assert {"arena", "input", "output", "constant"} == set(places)
    placements = phases.run(lang.parse(net.read_text()), machines.load("host")).plan.placements
    assert {node["name"]: node["place"]["offset"] for node in data.json["nodes"]} == {
        name: placement.offset + placement.inner for name, placement in placements.items()
    }
    assert any(placement.offset for placement in placements.values())
    before = cnncc("compile", net, "--stop-after", "order_steps", "--json").json
    assert "arena" not in before
    assert not any("place" in node for node in before["nodes"])


def line(node):
    """What the text says of a node of the JSON."""
    place = node["place"]
    if place["in"] == "arena":
        return f"{node['name']}: {place['offset']}"
    return f"{node['name']}: {place['in']} {place.get('index', place.get('node'))} + {place['offset']}"


def test_compile_does_not_write_over_what_it_reads(cnncc, net, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "build", lambda *args, **kwargs: pytest.fail("compiled before the check"))
    (tmp_path / "w.bin").write_bytes(b"old")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "tiny.h").symlink_to("tiny.net")
    for out, message in (
        ("tiny.net", "cannot write the module to tiny.net: that is the network"),
        ("tiny.so", "cannot write its header to tiny.h: that is the network"),
        ("w.bin", "cannot write the module to w.bin: that is the weights file"),
        ("foo.h", "cannot write the module to foo.h: that is its header"),
        ("pipe", "cannot write pipe: it is a device or a pipe, not a regular file"),
        (".", "cannot write .: it is a folder"),
        ("no/a.so", "cannot write no/a.so: folder no does not exist"),
    ):
        result = cnncc("compile", "tiny.net", "-o", out, "--weights", "w.bin")
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"cnncc: {message}")
    assert (net.read_text(), (tmp_path / "w.bin").read_bytes()) == (NET, b"old")
    assert (tmp_path / "pipe").is_fifo()


def test_the_default_module_is_checked_too(cnncc, net, tmp_path):
    (tmp_path / "tiny.so").mkdir()
    assert "cannot write tiny.so: it is a folder" in cnncc("compile", net).err


def test_write_shared_checks_its_files(net, tmp_path):
    build = api.build(weights.bind(lang.read(net)))
    with pytest.raises(CnnccError, match=r"cannot write the module to .*a\.h: that is its header"):
        write_shared(build, tmp_path / "a.h")


def test_dump_into_a_file_is_one_message(cnncc, net):
    result = cnncc("compile", net, "--dump", "x.npy")
    assert (result.code, result.err) == (2, "cnncc: cannot make folder x.npy: it is a file\n")


@pytest.mark.parametrize("out", ["tiny.net", "x.npy", "labels.txt"])
def test_run_does_not_write_over_what_it_reads(cnncc, net, tmp_path, out):
    (tmp_path / "labels.txt").write_text("\n".join("abcdefghij"))
    before = (tmp_path / out).read_bytes()
    result = cnncc("run", "tiny.net", "x.npy", "--labels", "labels.txt", "-o", out)
    assert result.code == 2
    assert f"cannot write the result to {out}: that is the " in result.err
    assert (tmp_path / out).read_bytes() == before


def test_run_takes_an_array_of_the_whole_batch(cnncc, net, tmp_path):
    cnncc("compile", net, "--batch", 2, "-o", "two.so")
    both = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)
    np.save("both.npy", both)
    for i in range(2):
        np.save(f"{i}.npy", both[i])
    result = cnncc("run", "two.so", "both.npy", "-o", "a.npy")
    assert result.code == 0
    assert "both.npy[0]  (" in result.out
    assert "both.npy[1]  (" in result.out
    assert result.out.splitlines()[-1].startswith("wrote a.npy: ")
    assert cnncc("run", "two.so", "0.npy", "1.npy", "-o", "b.npy").code == 0
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))
    data = cnncc("run", "two.so", "0.npy", "1.npy", "both.npy", "--json").json
    assert [row["inputs"] for row in data] == [["0.npy"], ["1.npy"], ["both.npy[0]"], ["both.npy[1]"]]
    mixed = cnncc("run", "two.so", "0.npy", "both.npy", "--json").json
    assert [row["inputs"] for row in mixed] == [["0.npy"], ["both.npy[0]"], ["both.npy[1]"]]
    assert [row["outputs"] for row in mixed] == [data[i]["outputs"] for i in (0, 2, 3)]


@pytest.mark.parametrize("option", ["--weights", "--weights-dtype", "--batch", "--target", "--seed", "--max-error"])
def test_run_refuses_options_of_a_network_for_a_module(cnncc, net, option):
    cnncc("compile", net)
    result = cnncc("run", "tiny.so", "x.npy", option, "float16" if option == "--weights-dtype" else "1")
    assert result.code == 2
    assert f"tiny.so is a compiled module and takes no {option}: such options are for a network" in result.err


def test_run_a_module_with_fewer_threads_not_more(cnncc, net):
    cnncc("compile", net, "--threads", 2)
    assert cnncc("run", "tiny.so", "x.npy", "--threads", 1).code == 0
    result = cnncc("run", "tiny.so", "x.npy", "--threads", 3)
    assert (result.code, result.err) == (2, "cnncc: tiny.so was compiled for 2 threads at most, got 3\n")


def test_run_writes_several_outputs_as_an_archive(cnncc, net, tmp_path):
    text = "net heads\ninput 1x8x8\nconv 3x3 2\nsave file\ngap; fc 3\noutput\noutput file\n"
    (tmp_path / "heads.net").write_text(text)
    refused = cnncc("run", "heads.net", "x.npy", "-o", "y.npy")
    assert refused.code == 2
    assert "the network has 2 outputs, y.npy would hold one array" in refused.err
    assert "hint: -o y.npz writes all of them by name" in refused.err
    result = cnncc("run", "heads.net", "x.npy", "-o", "y.npz")
    assert (result.code, "wrote y.npz: " in result.out) == (0, True)
    with np.load("y.npz") as archive:
        shapes = sorted(archive[name].shape for name in archive.files)
        assert all(f"{name}: float32" in result.out for name in archive.files)
    assert shapes == [(1, 2, 8, 8), (1, 3)]


def test_run_wants_a_file_for_each_input(cnncc, tmp_path):
    two = tmp_path / "two.net"
    two.write_text("net two\ninput a 1x8x8\ninput b 1x8x8\nadd { | from a }\nfc 2\n")
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8), np.float32))
    result = cnncc("run", two, tmp_path / "x.npy")
    assert result.code == 2
    assert "the network takes 2 inputs, got 1" in result.err
    assert cnncc("run", two, tmp_path / "x.npy", tmp_path / "x.npy").code == 0


@pytest.mark.parametrize("compiled", [False, True], ids=["text", "module"])
@pytest.mark.parametrize("std", ["", " mean (10) std (50)"], ids=["plain", "normalised"])
def test_run_gives_an_image_the_normalisation_of_the_text(cnncc, tmp_path, monkeypatch, std, compiled):
    monkeypatch.chdir(tmp_path)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save("x.png")
    (tmp_path / "same.net").write_text(f"net same\ninput 1x8x8{std}\nleaky_relu 1\n")
    if compiled:
        cnncc("compile", "same.net")
    assert cnncc("run", "same.so" if compiled else "same.net", "x.png", "-o", "y.npy").code == 0
    wanted = (pixels - 10.0) / 50 if std else pixels / 255
    np.testing.assert_allclose(np.load("y.npy")[0, 0], wanted, rtol=1e-6, atol=1e-7)


def test_run_describes_results_that_are_no_scores(cnncc, net, tmp_path):
    (tmp_path / "map.net").write_text("net map\ninput 1x8x8\nconv 3x3 2\n")
    result = cnncc("run", "map.net", "x.npy")
    assert "2x8x8: min " in result.out


def test_check_passes_and_prints_the_worst_layer(cnncc, net):
    result = cnncc("check", net)
    assert result.code == 0, result.out
    assert "worst layer " in result.out
    assert "within their tolerance" in result.out
    assert "ULP" not in result.out
    data = cnncc("check", net, "--json", "--batch", 2).json
    assert data["passed"] is True
    assert {layer["name"] for layer in data["layers"]} >= {"conv1.relu"}


def test_check_exits_1_and_names_the_first_layer_outside(cnncc, net, monkeypatch):
    good = LayerCheck("conv1", "conv", 1e-7, 1e-5, 2, 0.0, None, None, None)
    bad = LayerCheck("fc", "fc", 0.5, 1e-5, 9999, 0.25, (0, 3), 1.5, 1.0)
    monkeypatch.setattr("cnncc.report.check.check", lambda *args: CheckReport("tiny", (good, bad)))
    result = cnncc("check", net)
    assert result.code == 1
    assert "first layer outside its tolerance: fc (fc), 5.00e-01 > 1.00e-05" in result.out
    assert "first outlier at [0, 3]: compiled 1.5, reference 1.0" in result.out
    assert "outliers: 25.00% of its values" in result.out
    assert cnncc("check", net, "--json").json["first_failure"]["outlier_index"] == [0, 3]


def test_check_finds_a_wrong_kernel(cnncc, net, monkeypatch):
    """One value off in the compiled module is found, with its place."""
    real = Build.trace

    def wrong(build, *inputs):
        values = dict(real(build, *inputs))
        broken = values["conv1.relu"].copy()
        broken[0, 2, 1, 5] += 100
        return {**values, "conv1.relu": broken}

    monkeypatch.setattr(Build, "trace", wrong)
    data = cnncc("check", net, "--json")
    assert data.code == 1
    assert data.json["first_failure"]["name"] == "conv1.relu"
    assert data.json["first_failure"]["outlier_index"] == [0, 2, 1, 5]


def test_weights_in_half_precision_are_told_wherever_weights_are(cnncc, net, tmp_path):
    option = ("--weights-dtype", "bfloat16")
    assert (
        ", random, seed 0, those of float32 convolutions and fc as bfloat16; kernels: "
        in cnncc("compile", net, *option).out
    )
    assert cnncc("compile", net, *option, "--json").json["weights_dtype"] == "bfloat16"
    assert ", those of float32 convolutions and fc as bfloat16" in cnncc("info", "tiny.so").out
    assert cnncc("info", "tiny.so", "--json").json["weights_dtype"] == "bfloat16"
    assert "threads 1, weights as bfloat16" in cnncc("profile", "tiny.so", "--runs", 2, "--threads", 1).out
    outputs = []
    for arguments in (("tiny.so",), (net, *option), (net,)):
        assert cnncc("run", *arguments, "x.npy", "-o", "y.npy").code == 0
        outputs.append(np.load(tmp_path / "y.npy"))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()


def test_check_rounds_the_weights_of_the_reference_too(cnncc, net):
    result = cnncc("check", net, "--weights-dtype", "bfloat16")
    assert result.code == 0, result.out
    assert "the reference has weights rounded to bfloat16 too; without, its outputs differ by up to " in result.out
    data = cnncc("check", net, "--weights-dtype", "bfloat16", "--json").json
    assert (data["passed"], data["weights_dtype"]) == (True, "bfloat16")
    assert 1e-5 < data["rounding"] < 0.1
    plain = cnncc("check", net, "--json").json
    assert (plain["weights_dtype"], plain["rounding"]) == ("float32", None)
