"""The model zoo against the published figures."""

from __future__ import annotations

import re
import time
from functools import cache
from itertools import groupby
from math import prod

import pytest

from cnncc import lang, ops, weights
from cnncc.base import resources
from cnncc.ir import Graph, Node

MODELS = resources.directory("models")
FIGURES = {
    "lenet5": (61_706, 416_520),
    "alexnet": (62_378_344, 1_135_256_096),
    "alexnet_grouped": (60_965_224, 724_406_816),
    "zfnet": (107_627_624, 2_476_704_896),
    "vgg_a": (132_863_336, 7_609_090_048),
    "vgg_a_lrn": (132_863_336, 7_609_090_048),
    "vgg_b": (133_047_848, 11_308_466_176),
    "vgg_c": (133_638_952, 11_770_888_192),
    "vgg_d": (138_357_544, 15_470_264_320),
    "vgg_e": (143_667_240, 19_632_062_464),
    "googlenet": (6_998_552, 1_582_671_872),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 3_857_973_248),
    "resnet50_v1_5": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_570_194_432),
    "resnet101_v1_5": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_282_415_616),
    "resnet152_v1_5": (60_192_808, 11_513_626_624),
    "cifar_resnet20": (272_474, 40_813_184),
    "cifar_resnet32": (466_906, 69_124_736),
    "cifar_resnet44": (661_338, 97_436_288),
    "cifar_resnet56": (855_770, 125_747_840),
    "cifar_resnet110": (1_730_714, 253_149_824),
    "cifar_resnet1202": (19_424_026, 2_829_501_056),
    "convnetjs_cifar10": (22_466, 3_920_000),
    "dilated_context": (28_392, 115_605_504),
    "mobilenet_v1": (4_231_976, 568_740_352),
    "squeezenet1_1": (1_235_496, 387_747_520),
    "densenet121": (7_978_856, 2_834_161_664),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "alexnet_owt": (61_100_840, 714_188_480),
    "googlenet_bn": (6_624_904, 1_498_376_192),
    "efficientnet_lite0": (4_652_008, 385_187_552),
    "cifar_resnet8": (78_186, 12_501_632),
    "mnist_cnn": (390_410, 7_748_608),
    "unet": (31_030_658, 150_428_424_448),
    "shufflenet_v1": (1_865_728, 137_460_672),
    "shufflenet_v2": (2_278_604, 144_907_992),
    "regnet_y_400mf": (4_344_144, 401_842_848),
    "convnext_tiny": (28_589_128, 4_455_531_264),
    "efficientnet_b0": (5_288_548, 385_814_752),
    "mobilenet_v3_large": (5_483_032, 216_589_760),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "deeplab_v3_mobilenet": (11_025_477, 1_882_169_120),
    "hrnet_w18": (21_299_004, 4_283_537_072),
    "ghostnet": (5_182_508, 141_150_512),
}
"""Parameters and multiply-adds. SqueezeNet's at 227 x 227 follow from its layers, and so do
ShuffleNet v1's; its paper says 137 million multiply-adds."""
NAIVE_MIB = {
    "lenet5": 0.035,
    "alexnet": 4.004,
    "zfnet": 9.637,
    "vgg_a": 34.775,
    "vgg_b": 53.150,
    "vgg_c": 58.127,
    "vgg_d": 58.127,
    "vgg_e": 63.103,
    "googlenet": 26.072,
    "resnet18": 13.691,
    "resnet34": 20.869,
    "resnet50": 62.793,
    "resnet50_v1_5": 64.803,
    "resnet101": 95.332,
    "resnet101_v1_5": 97.342,
    "resnet152": 135.527,
    "resnet152_v1_5": 137.537,
    "cifar_resnet110": 6.028,
    "cifar_resnet1202": 65.746,
    "convnetjs_cifar10": 0.120,
    "dilated_context": 2.953,
    "mobilenet_v1": 19.818,
    "densenet121": 107.387,
    "unet": 697.012,
}
"""All activations at once, convolutions fused with what follows, dropout and flatten free."""


POINTWISE = {"relu", "relu6", "bn", "lrn", "dropout", "softmax"}


@cache
def net(name: str) -> Graph:
    return lang.read(MODELS / f"{name}.net")


def dims(node: Node) -> str:
    return "x".join(map(str, node.type.shape[1:]))


def shapes(name: str) -> str:
    """Shapes of all values but those of pointwise ops; runs of one shape written once."""
    sizes = [dims(n) for n in net(name).nodes if n.op not in POINTWISE]
    return " ".join(size for size, _ in groupby(sizes))


def fields(name: str, *values: str) -> list[int]:
    """Receptive fields of some values."""
    found = ops.receptive_field(net(name))
    assert all(h == w for h, w in found.values())
    return [found[v][0] for v in values]


def stored(g: Graph, node: Node) -> int:
    """Bytes a value needs of its own: what follows a convolution, batch norm or sum in place needs none."""
    in_place = {"bn", "relu", "relu6", "softmax"}
    fused = node.op in in_place and g[node.inputs[0]].op not in {"concat", "maxpool", "avgpool", "input"}
    return 0 if fused or node.op in {"dropout", "flatten", "crop"} else node.type.nbytes


def test_the_zoo_is_complete() -> None:
    assert {p.stem for p in MODELS.glob("*.net")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figures(name: str) -> None:
    g = net(name)
    assert g.name == name
    assert (ops.total_params(g), sum(ops.macs(g, n) for n in g.nodes)) == FIGURES[name]
    ops.verify(g)


@pytest.mark.parametrize("name", FIGURES)
def test_flat_text_is_the_same_network(name: str) -> None:
    assert lang.parse(lang.print_net(net(name))) == net(name)


@pytest.mark.parametrize("name", NAIVE_MIB)
def test_activations(name: str) -> None:
    g = net(name)
    assert round(sum(stored(g, n) for n in g.nodes) / 2**20, 3) == NAIVE_MIB[name]


VGG_TAIL = "512x7x7 4096 1000"
RESNET_HEAD = "3x224x224 64x112x112 64x56x56"
SHAPES = {
    "lenet5": "1x32x32 6x28x28 6x14x14 16x10x10 16x5x5 120x1x1 84 10",
    "alexnet": "3x227x227 96x55x55 96x27x27 256x27x27 256x13x13 384x13x13 256x13x13 256x6x6 4096 1000",
    "zfnet": "3x224x224 96x110x110 96x55x55 256x26x26 256x13x13 512x13x13 1024x13x13 512x13x13 512x6x6 4096 1000",
    "vgg_a": "3x224x224 64x224x224 64x112x112 128x112x112 128x56x56 256x56x56 256x28x28 512x28x28 512x14x14 "
    + VGG_TAIL,
    "vgg_d": "3x224x224 64x224x224 64x112x112 128x112x112 128x56x56 256x56x56 256x28x28 512x28x28 512x14x14 "
    + VGG_TAIL,
    "resnet18": f"{RESNET_HEAD} 128x28x28 256x14x14 512x7x7 512x1x1 1000",
    "cifar_resnet20": "3x32x32 16x32x32 32x16x16 64x8x8 64x1x1 10",
    "convnetjs_cifar10": "3x32x32 16x32x32 16x16x16 20x16x16 20x8x8 20x4x4 10",
    "dilated_context": "21x64x64",
    "mobilenet_v1": "3x224x224 32x112x112 64x112x112 64x56x56 128x56x56 128x28x28 256x28x28 256x14x14 512x14x14 "
    "512x7x7 1024x7x7 1024x1x1 1000",
    "unet": "1x572x572 64x570x570 64x568x568 64x284x284 128x282x282 128x280x280 128x140x140 256x138x138 256x136x136 "
    "256x68x68 512x66x66 512x64x64 512x32x32 1024x30x30 1024x28x28 512x56x56 1024x56x56 512x54x54 "
    "512x52x52 256x104x104 512x104x104 256x102x102 256x100x100 128x200x200 256x200x200 128x198x198 128x196x196 "
    "64x392x392 128x392x392 64x390x390 64x388x388 2x388x388",
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    assert shapes(name) == SHAPES[name]


def test_layers_of_vgg_d() -> None:
    g = net("vgg_d")
    rows = [n for n in g.nodes if n.op not in POINTWISE]
    assert sum(n.type.nbytes // 4 for n in rows) == 15_237_608
    weights = [g.constants[n.weights["weight"]].shape for n in rows if n.weights]
    counts = [prod(shape) for shape in weights]
    assert counts[:5] == [1_728, 36_864, 73_728, 147_456, 294_912]
    assert counts[-3:] == [102_760_448, 16_777_216, 4_096_000]
    assert sum(counts) == 138_344_128


INCEPTION = {
    "3a": ("256x28x28", 128),
    "3b": ("480x28x28", 304),
    "4a": ("512x14x14", 73),
    "4b": ("512x14x14", 88),
    "4c": ("512x14x14", 100),
    "4d": ("528x14x14", 119),
    "4e": ("832x14x14", 170),
    "5a": ("832x7x7", 54),
    "5b": ("1024x7x7", 71),
}


@pytest.mark.parametrize("label", INCEPTION)
def test_inception_modules(label: str) -> None:
    """Published figures: exact to the rounding, but 5a, whose row does not follow from its layers (51 M)."""
    g = net("googlenet")
    module = [n for n in g.nodes if n.name.startswith(f"{label}.")]
    shape, millions = INCEPTION[label]
    assert dims(module[-1]) == shape
    assert sum(ops.macs(g, n) for n in module) == pytest.approx(millions * 1e6, rel=0.06 if label == "5a" else 0.02)


def test_inception_weights() -> None:
    """In units of 1024. The published 463 of 4c and 1388 of 5b contradict their own rows of channels and MACs."""
    g = net("googlenet")
    for label, units in {"3a": 159, "3b": 379, "4c": 497, "5b": 1409}.items():
        weights = [n for n in g.constants if n.startswith(f"{label}.") and n.endswith("weight")]
        assert sum(prod(g.constants[n].shape) for n in weights) // 1024 == units


def test_shapes_of_googlenet_outside_the_modules() -> None:
    g = net("googlenet")
    outside = [dims(n) for n in g.nodes if n.name[0] not in "345" and n.op not in POINTWISE]
    assert (
        outside == "3x224x224 64x112x112 64x56x56 64x56x56 192x56x56 192x28x28 480x14x14 832x7x7 1024x1x1 1000".split()
    )


RESNETS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}


@pytest.mark.parametrize("depth", RESNETS)
def test_stages_of_resnets(depth: str) -> None:
    g = net(f"resnet{depth}")
    wide = 1 if depth in ("18", "34") else 4
    sums = [dims(n) for n in g.nodes if n.op == "add"]
    stages = zip(RESNETS[depth], (64, 128, 256, 512), (56, 28, 14, 7), strict=True)
    assert sums == [f"{c * wide}x{side}x{side}" for count, c, side in stages for _ in range(count)]
    layers = [n for n in g.nodes if n.op in ("conv", "fc") and ".b." not in n.name]
    assert len(layers) == int(depth)


def test_strides_of_resnet50() -> None:
    for name, strided in {"resnet50": "conv3.0.a.0", "resnet50_v1_5": "conv3.0.a.1"}.items():
        assert [n.name for n in net(name).nodes if n.attrs.get("stride") == (2, 2)][2:4] == [strided, "conv3.0.b.0"]


def test_densenet_grows_by_32() -> None:
    channels = [n.type.shape[1] for n in net("densenet121").nodes if n.op == "concat"]
    blocks = {0: (64, 6), 6: (128, 12), 18: (256, 24), 42: (512, 16)}
    for start, (first, count) in blocks.items():
        assert channels[start : start + count] == [first + 32 * (i + 1) for i in range(count)]
    assert len(channels) == 58


def test_squeezenet_shapes() -> None:
    g = net("squeezenet1_1")
    assert [dims(g[n]) for n in ("conv1", "pool1", "fire3.1", "pool3", "fire5.1", "pool5", "fire9.1", "conv10.1")] == (
        "64x113x113 64x56x56 128x56x56 128x28x28 256x28x28 256x14x14 512x14x14 1000x14x14".split()
    )


def test_receptive_fields() -> None:
    alexnet = fields("alexnet", "conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")
    assert alexnet == [11, 19, 51, 67, 99, 131, 163, 195]
    assert fields("vgg_d", "pool5") == [212]
    assert fields("dilated_context", *(f"conv{i}" for i in range(1, 9))) == [3, 5, 9, 17, 33, 65, 67, 67]


def test_names_of_weights() -> None:
    assert {"conv1.weight", "conv3.1.a.0.weight", "conv3.0.b.0.bn.bias", "fc.bias"} < set(net("resnet50").constants)
    assert {"fc6.weight", "fc7.bias", "conv5.2.weight"} < set(net("vgg_d").constants)
    assert {"3a.a.0.weight", "3a.d.1.bias", "fc6.1.weight"} < set(net("googlenet").constants)
    assert {"up4.0.b.0.weight", "up4.1.0.1.bias", "down1.0.0.weight"} < set(net("unet").constants)
    assert {"dense3.10.b.2.weight", "transition1.0.bias"} < set(net("densenet121").constants)
    assert {"fire2.squeeze.weight", "fire9.b.expand3x3.bias"} < set(net("squeezenet1_1").constants)


@pytest.mark.parametrize("name", FIGURES)
def test_all_names_start_with_a_label(name: str) -> None:
    """Then a line added to a network renames no other."""
    labels = set(re.findall(r"^(\w+):", (MODELS / f"{name}.net").read_text(), re.MULTILINE)) | {"input"}
    assert {n.name.partition(".")[0] for n in net(name).nodes} == labels


def test_the_weights_of_lenet5_still_fit() -> None:
    bound = weights.bind(net("lenet5"), MODELS / "lenet5.safetensors")
    assert all(c.bound for c in bound.constants.values())


def test_the_deepest_network_is_quick() -> None:
    start = time.perf_counter()
    lang.read(MODELS / "cifar_resnet1202.net")
    assert time.perf_counter() - start < 5
