"""`cnncc summary`: the figures, their JSON form and the table."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cnncc import lang
from cnncc.base.resources import directory
from cnncc.cli import screen
from cnncc.cli import summary as command
from cnncc.frontends.sources import read
from cnncc.module.program import Arena
from cnncc.report.summary import Summary, summarize

ARENA = Arena(bytes=3000, bound=2000, added_bytes=1096, total_bytes=4096)
NET = """net t
input 3x32x32
conv1: conv 5x5 8 /2x1 pad 2 bn relu
conv2: conv 3x3 8 dil 2 groups 2 nobias relu
maxpool 2x2 /2
fc 10 dropout softmax
"""


@pytest.fixture
def figures() -> Summary:
    return summarize(lang.read(NET), ARENA)


def by_name(summary: Summary):
    return {layer.name: layer for layer in summary.layers}


def test_layers_are_those_of_the_text(figures):
    ops = [layer.op for layer in figures.layers]
    assert ops == ["input", "conv", "bn", "relu", "conv", "relu", "maxpool", "fc", "dropout", "softmax"]


def test_ops_have_the_names_of_the_language():
    text = "net t\ninput 4x8x8\nconv 1x1 4 groups 2\ndwconv 3x3 /2\ndwconv 3x3 mult 2\nupconv 2x2 4 /2\n"
    layers = summarize(lang.read(text), ARENA).layers
    assert [f"{layer.op} {layer.window}".strip() for layer in layers[1:]] == [
        "conv 1x1 groups 2", "dwconv 3x3 /2", "dwconv 3x3 mult 2", "upconv 2x2 /2",
    ]  # fmt: skip


def test_parameters_count_batch_norm_but_not_its_statistics(figures):
    by_op = {layer.op: layer.params for layer in figures.layers if layer.name.startswith("conv1") or layer.op == "fc"}
    assert by_op == {"conv": 8 * 3 * 25, "bn": 16, "relu": 0, "fc": 10 * 8 * 8 * 16 + 10}
    assert figures.params == sum(layer.params for layer in figures.layers)


def test_flops_are_twice_the_macs(figures):
    conv1, conv2, fc = 16 * 32 * 8 * 3 * 25, 16 * 32 * 8 * 4 * 9, 8 * 8 * 16 * 10
    assert figures.macs == conv1 + conv2 + fc
    assert figures.flops == 2 * figures.macs


def test_outputs_are_channels_height_width(figures):
    assert by_name(figures)["conv1"].output == (8, 16, 32)
    assert figures.layers[-1].output == (10, 1, 1)


def test_what_overwrites_its_input_needs_no_memory(figures):
    own = {layer.op: layer.activation_bytes for layer in figures.layers}
    assert {op for op, size in own.items() if size == 0} == {"bn", "relu", "dropout", "softmax"}
    assert own["input"] == 4 * 3 * 32 * 32
    assert figures.activation_bytes == sum(layer.activation_bytes for layer in figures.layers)


def test_an_activation_of_a_value_that_others_read_needs_memory():
    text = "net t\ninput 3x8x8\nconv 3x3 4\nsave a\nrelu\nadd { | from a }\n"
    relu = next(layer for layer in summarize(lang.read(text), ARENA).layers if layer.op == "relu")
    assert relu.activation_bytes == 4 * 4 * 8 * 8


def test_a_network_on_bytes_is_counted_in_bytes(capsys):
    text = "net t\ninput 3x8x8\nquantize uint8 0.02 128\nqconv 3x3 4 to uint8 scale 0.05 zero 0\n"
    summary = summarize(lang.read(f"{text}dequantize\nsilu\nquantize uint8 0.1\nqfc 10 softmax\n"), ARENA)
    assert [layer.op for layer in summary.layers] == ["input", "quantize", "qconv", "lookup", "qfc", "softmax"]
    assert [layer.activation_bytes for layer in summary.layers] == [4 * 192, 192, 256, 256, 40, 0]
    weights, biases = 4 * 3 * 9 + 10 * 256, 4 + 10
    assert (summary.params, summary.param_bytes) == (weights + biases, weights + 4 * biases)
    assert summary.to_json()["param_bytes"] == summary.param_bytes
    command.show(summary)
    assert "(2.66 KiB in int8 and int32; no running statistics)" in capsys.readouterr().out


def test_receptive_fields_per_axis_and_their_larger_one(figures):
    conv2 = by_name(figures)["conv2"]
    assert conv2.receptive_field_hw == (5 + 4 * 2, 5 + 4)
    assert conv2.receptive_field == 13


def test_windows_are_shown_as_written(figures):
    layers = by_name(figures)
    assert layers["conv1"].window == "5x5 /2x1"
    assert layers["conv2"].window == "3x3 dil 2 groups 2"
    assert [layer.window for layer in figures.layers if layer.op == "maxpool"] == ["2x2 /2"]


def test_json_has_the_shape_of_the_contract(figures):
    data = figures.to_json()
    assert {"name", "params", "macs", "arena_bytes", "layers"} <= data.keys()
    keys = {"name", "op", "output", "params", "macs", "activation_bytes", "receptive_field"}
    assert all(keys <= layer.keys() for layer in data["layers"])
    assert (data["name"], data["arena_bytes"], data["flops"]) == ("t", 4096, figures.flops)


def test_the_table_is_not_cut_when_piped(figures, capsys):
    command.show(figures)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "network t"
    (row,) = [line.split() for line in lines if line.startswith("conv1 ")]
    assert row == ["conv1", "conv", "5x5", "/2x1", "8x16x32", "600", "307.2k", "16", "KiB", "5"]
    assert any(line.startswith("MACs ") and "multiply-adds" in line for line in lines)
    assert any(line.startswith("FLOPs ") and "2 per MAC" in line for line in lines)
    assert max(map(len, lines)) < screen.PIPED_WIDTH


LONG = {
    "deeplab_v3_mobilenet", "efficientnet_b0", "ghostnet", "mobilenet_v3_large", "regnet_y_400mf", "resnext50_32x4d",
}  # fmt: skip
"""Networks whose names (`bneck14.0.a.1.b.2.relu`) or ops (`conv 3x3 groups 32`) leave no room for all columns."""


@pytest.mark.parametrize("path", sorted(directory("models").glob("*.net")), ids=lambda path: path.stem)
def test_the_zoo_fits_80_columns(capsys, monkeypatch, path):
    monkeypatch.setattr("cnncc.cli.screen.width", lambda: 80)
    summary = summarize(lang.read(path), ARENA)
    command.show(summary)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert ("no room for RF" in out) == (path.stem in LONG)
    assert [line.split()[0] for line in lines[3 : 3 + len(summary.layers)]] == [x.name for x in summary.layers]


def test_a_narrow_terminal_leaves_columns_out(figures, capsys, monkeypatch):
    monkeypatch.setattr("cnncc.cli.screen.width", lambda: 60)
    command.show(figures)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[1].split() == ["layer", "op", "output", "params", "MACs"]
    assert "conv 3x3 dil 2 groups 2" in lines[7], "names stay whole"
    assert "no room for RF, memory: --json has all, or a wider terminal" in lines


def test_a_table_that_cannot_be_narrow_enough_is_not_cut(figures, capsys, monkeypatch):
    monkeypatch.setattr("cnncc.cli.screen.width", lambda: 20)
    command.show(figures)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["layer", "op"]
    assert lines[7].endswith("conv 3x3 dil 2 groups 2")


@pytest.mark.parametrize(
    ("number", "count", "size"),
    [(0, "0", "0 B"), (999, "999", "999 B"), (1000, "1.0k", "1.0 KiB"), (999_950, "1.0M", "977 KiB"),
     (118_013_952, "118.0M", "113 MiB"), (18_119_393_280, "18.1G", "17 GiB"), (3_211_264, "3.2M", "3.1 MiB")],
)  # fmt: skip
def test_short_numbers(number, count, size):
    assert (screen.short_count(number), screen.short_size(number)) == (count, size)


def test_an_arena_larger_than_the_sum_is_explained(figures, capsys):
    small = Arena(bytes=3000, bound=2000, added_bytes=1096, total_bytes=figures.activation_bytes + 1)
    for arena in (ARENA, small):
        command.show(replace(figures, arena=arena))
        said = "channels are stored in blocks of 8 or 16" in " ".join(capsys.readouterr().out.split())
        assert said == (arena is small)


def test_the_command_prints_json(cnncc):
    result = cnncc("summary", "-", "--json", stdin=NET)
    assert (result.code, result.err) == (0, "")
    assert result.json["name"] == "t"
    assert result.json["layers"][0]["output"] == [3, 32, 32]
    assert result.json["arena_bytes"] > 0


def test_an_arm_that_does_not_match_is_shown_with_its_place(cnncc):
    result = cnncc("summary", "-", stdin="net t\ninput 3x8x8\nadd { conv 3x3 4 | }\n")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("cnncc: <stdin>:3:1: add: ")
    assert "4x8x8" in result.err
    assert "3x8x8" in result.err
    assert "^^^" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("net", "params", "macs"),
    [("lenet5", 61_706, 416_520), ("googlenet", 6_998_552, 1_582_671_872), ("resnet50", 25_557_032, 3_857_973_248)],
)
def test_networks_of_the_zoo_by_name(cnncc, net, params, macs):
    data = cnncc("summary", net, "--json").json
    assert (data["params"], data["macs"]) == (params, macs)


NAIVE_MIB = {
    "lenet5": 0.035, "alexnet": 4.004, "vgg_d": 58.127, "googlenet": 26.072, "resnet18": 13.691, "resnet50": 62.793,
    "resnet50_v1_5": 64.803, "convnetjs_cifar10": 0.120, "dilated_context": 2.953, "mobilenet_v1": 19.818,
    "densenet121": 107.387, "unet": 697.012,
}  # fmt: skip
"""MiB of activations, each result with memory of its own."""


@pytest.mark.parametrize("net", NAIVE_MIB)
def test_activations_add_up(net):
    total = summarize(read(net), ARENA).activation_bytes / 2**20
    assert math.isclose(total, NAIVE_MIB[net], abs_tol=6e-4)
