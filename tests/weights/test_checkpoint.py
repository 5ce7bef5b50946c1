"""Checkpoints under the names of others, and the reader of PyTorch's files."""

from __future__ import annotations

import collections
import io
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cnncc import lang
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.cli import main
from cnncc.ir import Graph
from cnncc.weights import checkpoint, torch_file

MODELS = resources.directory("models")


class Named:
    """Pickles as a class of that name."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Writer(pickle._Pickler):  # type: ignore[name-defined]
    """Writes what torch.save does."""

    def persistent_id(self, obj: object) -> object:
        return obj.pid if isinstance(obj, StorageId) else None

    def save(self, obj: object, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Named):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, View):
            self.save(Named("torch._utils", "_rebuild_tensor_v2"))
            self.save((obj.storage, obj.offset, obj.shape, obj.stride, False, collections.OrderedDict()))
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


class StorageId:
    def __init__(self, kind: str, key: str, count: int, view: object = None, legacy: bool = False) -> None:
        self.pid = ("storage", Named("torch", kind), key, "cpu", count, *((view,) if legacy else ()))


class View:
    def __init__(self, storage: object, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride


def pickled(*objects: object) -> bytes:
    file = io.BytesIO()
    for each in objects:
        Writer(file, 2).dump(each)
    return file.getvalue()


def dense(arrays: dict[str, np.ndarray], legacy: bool = False) -> dict[str, View]:
    views = collections.OrderedDict()
    for key, (name, a) in enumerate(arrays.items()):
        kind = {"f4": "FloatStorage", "i8": "LongStorage", "f2": "HalfStorage"}[a.dtype.str[1:]]
        steps = tuple(s // a.itemsize for s in a.strides)
        views[name] = View(StorageId(kind, str(key), a.size, legacy=legacy), 0, a.shape, steps)
    return views


def zipped(arrays: dict[str, np.ndarray], path: Path, state: object = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(state or dense(arrays)))
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return path


def legacy(arrays: dict[str, np.ndarray], path: Path) -> Path:
    head = pickled(torch_file.MAGIC, torch_file.PROTOCOL, {"little_endian": True}, dense(arrays, legacy=True))
    keys = pickled([str(i) for i in range(len(arrays))])
    data = b"".join(struct.pack("<q", a.size) + a.tobytes() for a in arrays.values())
    path.write_bytes(head + keys + data)
    return path


ARRAYS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.arange(4, dtype=np.float16),
    "a.num_batches_tracked": np.array([7]),
}


@pytest.mark.parametrize("write", [zipped, legacy])
def test_both_formats(write, tmp_path: Path) -> None:
    found = torch_file.read(write(ARRAYS, tmp_path / "c.pth"))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)


def test_views_of_a_storage(tmp_path: Path) -> None:
    storage = StorageId("FloatStorage", "0", 6)
    state = {"model": {"t": View(storage, 1, (2, 2), (1, 2))}, "epoch": 3}
    found = torch_file.read(zipped({"t": ARRAYS["b.weight"]}, tmp_path / "c.pth", state))
    np.testing.assert_array_equal(found["t"], [[1, 3], [2, 4]])


REFUSED = {
    "the file names posix.system": Named("posix", "system"),
    "the file names builtins.eval": Named("builtins", "eval"),
    "the file names torch.nn.modules.linear.Linear": Named("torch.nn.modules.linear", "Linear"),
    "the file holds a list, no state dict": [1],
    "the file holds no tensors by name": {"a": 1},
}


@pytest.mark.parametrize("message", REFUSED)
def test_anything_else_is_refused(message: str, tmp_path: Path) -> None:
    file = zipped({}, tmp_path / "c.pth", REFUSED[message])
    with pytest.raises(CnnccError, match="is refused: ") as caught:
        torch_file.read(file)
    assert message in caught.value.message


def test_damaged_files(tmp_path: Path) -> None:
    file = legacy(ARRAYS, tmp_path / "c.pth")
    whole = file.read_bytes()
    for size in (0, 10, 100, len(whole) - 5):
        file.write_bytes(whole[:size])
        with pytest.raises(CnnccError, match="is no PyTorch checkpoint, or a damaged one"):
            torch_file.read(file)
    with pytest.raises(CnnccError, match="cannot read weights from nowhere: no such file"):
        torch_file.read("nowhere")
    outside = {"t": View(StorageId("FloatStorage", "0", 6), 3, (2, 3), (3, 1))}
    with pytest.raises(CnnccError, match="a tensor reaches outside its storage"):
        torch_file.read(zipped({"t": ARRAYS["b.weight"]}, tmp_path / "d.pth", outside))


# torchvision's names


def resnet(blocks: list[int], deep: bool) -> list[str]:
    modules = ["conv1", "bn1"]
    for layer, count in enumerate(blocks, start=1):
        for i in range(count):
            inner = [f"layer{layer}.{i}.{kind}{n}" for n in range(1, 4 if deep else 3) for kind in ("conv", "bn")]
            short = [f"layer{layer}.{i}.downsample.{n}" for n in (0, 1)] if i == 0 and (deep or layer > 1) else []
            modules += inner + short
    return [*modules, "fc"]


def googlenet() -> list[str]:
    conv = ["conv1", "conv2", "conv3"]
    for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        conv += [
            f"inception{name}.{b}" for b in ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
        ]
    return [*(f"{c}.{part}" for c in conv for part in ("conv", "bn")), "fc"]


def densenet() -> list[str]:
    modules = ["features.conv0", "features.norm0"]
    for block, count in enumerate((6, 12, 24, 16), start=1):
        for layer in range(1, count + 1):
            head = f"features.denseblock{block}.denselayer{layer}"
            modules += [f"{head}.{part}" for part in ("norm1", "conv1", "norm2", "conv2")]
        if block < 4:
            modules += [f"features.transition{block}.{part}" for part in ("norm", "conv")]
    return [*modules, "features.norm5", "classifier"]


def mobilenet() -> list[str]:
    modules = ["features.0.0", "features.0.1", *(f"features.1.conv.{n}" for n in ("0.0", "0.1", "1", "2"))]
    for i in range(2, 18):
        modules += [f"features.{i}.conv.{n}" for n in ("0.0", "0.1", "1.0", "1.1", "2", "3")]
    return [*modules, "features.18.0", "features.18.1", "classifier.1"]


def squeezenet() -> list[str]:
    fires = [f"features.{i}.{p}" for i in (3, 4, 6, 7, 9, 10, 11, 12) for p in ("squeeze", "expand1x1", "expand3x3")]
    return ["features.0", *fires, "classifier.1"]


def shufflenet_v2() -> list[str]:
    modules = ["conv1.0", "conv1.1"]
    for stage, count in ((2, 4), (3, 8), (4, 4)):
        for unit in range(count):
            layers = [f"branch2.{n}" for n in (0, 1, 3, 4, 5, 6)]
            layers[:0] = [f"branch1.{n}" for n in (0, 1, 2, 3)] if unit == 0 else []
            modules += [f"stage{stage}.{unit}.{layer}" for layer in layers]
    return [*modules, "conv5.0", "conv5.1", "fc"]


def efficientnet() -> list[str]:
    modules = ["features.0.0", "features.0.1"]
    for stage, count in enumerate((1, 2, 2, 3, 3, 4, 1), start=1):
        wide = 0 if stage == 1 else 1
        layers = [f"{i}.{n}" for i in range(wide + 1) for n in (0, 1)]
        layers += [f"{wide + 1}.fc1", f"{wide + 1}.fc2", f"{wide + 2}.0", f"{wide + 2}.1"]
        modules += [f"features.{stage}.{i}.block.{layer}" for i in range(count) for layer in layers]
    return [*modules, "features.8.0", "features.8.1", "classifier.1"]


def vgg(convs: tuple[int, ...]) -> list[str]:
    return [*(f"features.{i}" for i in convs), *(f"classifier.{i}" for i in (0, 3, 6))]


def mobilenet_v3(backbone: str, last: int = 15) -> list[str]:
    """Blocks without expansion, then without squeeze and excite, then with it."""
    modules = [f"{backbone}.0.0", f"{backbone}.0.1"]
    gated = (4, 5, 6, 11, 12, 13, 14, 15)
    for i in range(1, last + 1):
        layers = [f"{n}.{part}" for n in range(1 if i == 1 else 2) for part in (0, 1)]
        at = 1 if i == 1 else 2
        if i in gated:
            layers += [f"{at}.fc1", f"{at}.fc2"]
            at += 1
        modules += [f"{backbone}.{i}.block.{layer}" for layer in (*layers, f"{at}.0", f"{at}.1")]
    return [*modules, f"{backbone}.16.0", f"{backbone}.16.1"]


def deeplab() -> list[str]:
    arms = [f"convs.{i}.{n}" for i in range(4) for n in (0, 1)]
    head = [*arms, "convs.4.1", "convs.4.2", "project.0", "project.1"]
    return [*mobilenet_v3("backbone"), *(f"classifier.0.{p}" for p in head), *(f"classifier.{n}" for n in (1, 2, 4))]


def regnet() -> list[str]:
    modules = ["stem.0", "stem.1"]
    for stage, count in enumerate((1, 3, 6, 6), start=1):
        for i in range(count):
            layers = ["f.a.0", "f.a.1", "f.b.0", "f.b.1", "f.se.fc1", "f.se.fc2", "f.c.0", "f.c.1"]
            layers += [] if i else ["proj.0", "proj.1"]
            modules += [f"trunk_output.block{stage}.block{stage}-{i}.{layer}" for layer in layers]
    return [*modules, "fc"]


def convnext() -> list[str]:
    modules = ["features.0.0", "features.0.1"]
    for stage, count in enumerate((3, 3, 9, 3)):
        modules += [f"features.{2 * stage}.{n}" for n in (0, 1)] if stage else []
        for i in range(count):
            layers = [*(f"block.{n}" for n in (0, 2, 3, 5)), "layer_scale"]
            modules += [f"features.{2 * stage + 1}.{i}.{layer}" for layer in layers]
    return [*modules, "classifier.0", "classifier.2"]


FAMILIES = {
    "alexnet_owt": ["features.0", *(f"features.{i}" for i in (3, 6, 8, 10)), *(f"classifier.{i}" for i in (1, 4, 6))],
    "vgg_a": vgg((0, 3, 6, 8, 11, 13, 16, 18)),
    "vgg_d": vgg((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
    "googlenet_bn": googlenet(),
    "resnet18": resnet([2, 2, 2, 2], deep=False),
    "resnet50_v1_5": resnet([3, 4, 6, 3], deep=True),
    "mobilenet_v2": mobilenet(),
    "densenet121": densenet(),
    "squeezenet1_1": squeezenet(),
    "resnext50_32x4d": resnet([3, 4, 6, 3], deep=True),
    "shufflenet_v2": shufflenet_v2(),
    "efficientnet_b0": efficientnet(),
    "mobilenet_v3_large": [*mobilenet_v3("features"), "classifier.0", "classifier.3"],
    "deeplab_v3_mobilenet": deeplab(),
    "regnet_y_400mf": regnet(),
    "convnext_tiny": convnext(),
}


def stored(module: str, slot: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """The name and the shape under which torchvision has a tensor: ConvNeXt has linear layers over channels, and
    factors without a layer of their own."""
    if module.endswith("layer_scale"):
        return module, (*shape, 1, 1)
    linear = re.fullmatch(r"features\.\d\.\d\.block\.[35]", module) and len(shape) == 4
    return f"{module}.{slot}", shape[:2] if linear else shape


def state(graph: Graph, modules: list[str]) -> dict[str, np.ndarray]:
    """A state dict of these modules: each tensor is filled with the number of the graph's constant it stands for."""
    nodes = [n for n in graph.nodes if n.weights]
    numbers = {name: i for i, name in enumerate(graph.constants)}
    tensors = {}
    for node, module in zip(nodes, modules, strict=True):
        for slot, name in node.weights.items():
            called, shape = stored(module, slot, graph.constants[name].shape)
            tensors[called] = np.broadcast_to(np.float32(numbers[name]), shape)
        if node.op == "bn":
            tensors[f"{module}.num_batches_tracked"] = np.array(1)
    return tensors


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("order", ["forward", "sorted"])
def test_torchvision_names(name: str, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order of the file: safetensors sorts by name."""
    graph = lang.read(MODELS / f"{name}.net")
    tensors = state(graph, FAMILIES[name])
    names = sorted(tensors) if order == "sorted" else list(tensors)
    monkeypatch.setattr(checkpoint, "read", lambda path: {n: tensors[n] for n in names})
    bound = checkpoint.bind(graph, "file", "torchvision")
    for i, constant in enumerate(graph.constants):
        assert bound.constants[constant].compute().flat[0] == i


def test_old_names_of_densenet_and_heads_of_training() -> None:
    names = ["features.denseblock1.denselayer1.norm.1.weight", "aux1.fc1.weight", "features.conv0.weight"]
    assert [module for module, _ in checkpoint.layers(names)] == [
        "features.conv0", "features.denseblock1.denselayer1.norm1",
    ]  # fmt: skip


def test_blocks_are_counted_by_numbers() -> None:
    """The larger RegNets have more than ten in a stage."""
    names = [f"trunk_output.block3.block3-{i}.f.a.0.weight" for i in (10, 2)]
    assert [module for module, _ in checkpoint.layers(names)] == [
        "trunk_output.block3.block3-2.f.a.0", "trunk_output.block3.block3-10.f.a.0",
    ]  # fmt: skip


def test_another_network_is_told_by_its_first_different_layer(tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32), "fc.weight": np.zeros((2, 2), np.float32)}, file)
    with pytest.raises(CnnccError, match=r"layer 2 is fc with weight, conv1\.bn wants bias, running_mean") as caught:
        checkpoint.bind(lang.read(MODELS / "resnet18.net"), file, "torchvision")
    assert "another network than resnet18" in caught.value.message


def test_wrong_shapes_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    save_file({"x.weight": np.zeros((10, 4), np.float32), "y.weight": np.zeros((1, 1), np.float32)}, file)
    graph = lang.parse("net t\ninput 5\nfc: fc 10 nobias\n")
    with pytest.raises(CnnccError, match=r"(?s)shape of fc.weight: the net has 10x5, the file 10x4") as caught:
        checkpoint.bind(graph, file, "order")
    assert "left over: y.weight (1x1)" in caught.value.message


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, out = tmp_path / "t.net", tmp_path / "t.safetensors"
    net.write_text("net t\ninput 3\nfc: fc 2\n")
    arrays = {"l.weight": np.ones((2, 3), np.float32), "l.bias": np.zeros(2, np.float32)}
    file = zipped(arrays, tmp_path / "c.pth")
    assert main(["weights", str(net), "--from", str(file), "--map", "order", "-o", str(out)]) == 0
    assert f"2 tensors of t ({file})" in capsys.readouterr().out
    assert main(["weights", str(net), "--from", str(file), "--weights", str(out)]) == 2
    assert "--from and --weights both say where the weights come from" in capsys.readouterr().err
