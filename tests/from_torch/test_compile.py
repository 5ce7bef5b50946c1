"""`cnncc.torch.compile` and `to_net`: what goes in and comes out is what the module takes and returns."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnncc
from cnncc.base.errors import CnnccError
from cnncc.runtime.arrays import InputError

torch = pytest.importorskip("torch")

import cnncc.torch  # noqa: E402
from cnncc.torch.calls import array_of  # noqa: E402

ROOT = Path(__file__).parents[2]


class Small(torch.nn.Module):
    """A convolution with a norm, a shared layer, buffers and a tensor of the code."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8))
        self.same = torch.nn.Conv2d(8, 8, 1)
        self.again = self.same
        self.register_buffer("shift", torch.arange(8.0).reshape(8, 1, 1), persistent=False)
        self.scale = torch.tensor(0.5)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        return self.again(self.same(self.stem(x).relu())) * self.scale + self.drop(self.shift)


class Mixed(torch.nn.Module):
    """Several inputs and outputs of several types, in tuples and dictionaries."""

    def forward(self, pair: Any, more: Any, *, times: int = 2, bias: Any = None) -> Any:
        a, b = pair
        total = a * times + more["c"]
        total = total if bias is None else total + bias
        found = {"sum": total, "positive": total > 0, "place": total.argmax(1), "count": times, "none": None}
        return found, (b.long() + 1, torch.ones(3))


@pytest.fixture(scope="module")
def small() -> Any:
    torch.manual_seed(0)
    module = Small().eval()
    for tensor in (module.stem[1].running_mean, module.stem[1].running_var):
        tensor.uniform_(0.5, 1.5)
    return module


@pytest.fixture(scope="module")
def compiled(small: Any) -> Any:
    return cnncc.torch.compile(small, images(1))


def images(count: int) -> Any:
    return torch.randn(count, 3, 12, 10, generator=torch.Generator().manual_seed(count))


def close(found: Any, wanted: Any) -> bool:
    return found.shape == wanted.shape and found.dtype == wanted.dtype and torch.allclose(found, wanted, 1e-4, 1e-5)


def test_a_module(small: Any, compiled: Any) -> None:
    found = compiled(images(1))
    assert isinstance(found, torch.Tensor)
    assert close(found, small(images(1)))
    assert compiled.model.name == "Small"


def test_the_text_names_layers_as_the_state_dict_does(small: Any) -> None:
    text = cnncc.torch.to_net(small, images(1)).text
    assert text.startswith("net Small\ninput x 3x12x10\nstem_0: conv 3x3 8 ")
    assert "again: conv 1x1 8" in text


def test_structures(small: Any) -> None:
    torch.manual_seed(1)
    a, b, c, bias = (torch.randn(1, 5) for _ in range(4))
    arguments = ((a, b.round()), {"c": c})
    model = cnncc.torch.compile(Mixed().eval(), arguments, {"times": 3, "bias": bias})
    found, (whole, ones) = model(*arguments, bias=bias, times=3)
    wanted, (expected, _) = Mixed()(*arguments, bias=bias, times=3)
    assert list(found) == list(wanted)
    assert (found["count"], found["none"]) == (3, None)
    assert all(close(found[name], wanted[name]) for name in ("sum", "positive", "place"))
    assert close(whole, expected)
    assert ones.add_(1).sum() == 6
    assert model(*arguments, bias=bias, times=3)[1][1].sum() == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m(), "the arguments are not built as those of the example"),
        (lambda m, x: m((x, x), {"d": x}, times=3, bias=x), "the arguments are not built as those of the example"),
        (lambda m, x: m((x, x), {"c": x}, times=4, bias=x), "an argument is 4; the module was compiled for 3"),
        (lambda m, x: m((x, 7), {"c": x}, times=3, bias=x), "must be a tensor, got int"),
        (lambda m, x: m((x, x.double()), {"c": x}, times=3, bias=x), "must be float32, got float64"),
        (lambda m, x: m((x, x[:, :4]), {"c": x}, times=3, bias=x), "must be 1x5, got 1x4"),
        (lambda m, x: m((x, x.to_sparse()), {"c": x}, times=3, bias=x), "a tensor that is sparse or quantised"),
        (lambda m, x: m((x, x.to("meta")), {"c": x}, times=3, bias=x), "is on meta"),
        (lambda m, x: m((x, x.clone().requires_grad_()), {"c": x}, times=3, bias=x), "cnncc computes no gradients"),
    ],
)
def test_other_arguments_are_refused(mixed: Any, call: Any, message: str) -> None:
    with pytest.raises(CnnccError, match=message):
        call(mixed, torch.zeros(1, 5))


@pytest.fixture(scope="module")
def mixed() -> Any:
    x = torch.zeros(1, 5)
    return cnncc.torch.compile(Mixed().eval(), ((x, x), {"c": x}), {"times": 3, "bias": x})


def test_gradients_are_no_matter_where_none_are_wanted(small: Any, compiled: Any) -> None:
    with torch.no_grad():
        assert close(compiled(images(1).requires_grad_()), small(images(1)))


def test_other_layouts_in_memory(small: Any, compiled: Any) -> None:
    wanted = small(images(1))
    assert close(compiled(images(1).to(memory_format=torch.channels_last)), wanted)
    assert close(compiled(images(1).flip(3).flip(3)), wanted)
    assert close(compiled(torch.stack([images(1), images(1)], -1)[..., 1]), wanted)


def last(tensor: Any) -> Any:
    return tensor.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("batch", [None, 3])
def test_channels_last_is_read_as_it_is(small: Any, batch: int | None) -> None:
    found = cnncc.torch.compile(small, last(images(1)), batch=batch)
    assert found.model.inputs[0].shape[1:] == tuple(images(1).permute(0, 2, 3, 1).shape[1:])
    assert any("is channels last here" in note for note in found.network.notes)
    declared, array = found.model.inputs[0].declared, array_of("x", last(images(2)))
    assert np.shares_memory(array, declared.to_ours(array, found.model.inputs[0].shape[1:]))
    for count in range(1, 1 + (batch or 1)):
        assert close(found(last(images(count))), small(images(count)))
        assert close(found(images(count)), small(images(count)))


def test_channels_last_of_a_cube_is_told_apart_from_channels_first() -> None:
    module, x = torch.nn.Conv2d(4, 3, 3).eval(), torch.randn(1, 4, 4, 4)
    found = cnncc.torch.compile(module, last(x))
    assert close(found(last(x)), module(x))
    assert close(found(x), module(x))


def test_a_tensor_is_not_copied() -> None:
    x = images(1)
    assert np.shares_memory(array_of("x", x), x.numpy())


def test_threads_call_at_the_same_time(small: Any, compiled: Any) -> None:
    inputs = [images(1) * i for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(compiled, inputs))
    assert all(close(f, small(x)) for f, x in zip(found, inputs, strict=True))


def test_one_tensor_for_two_arguments() -> None:
    """PyTorch would take the two for one."""

    class Two(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.relu(a) * 2 + b

    one, other = images(1), images(1) * 3
    model = cnncc.torch.compile(Two().eval(), (one, one))
    assert close(model(one, other), Two()(one, other))


def test_a_batch(small: Any) -> None:
    assert close(cnncc.torch.compile(small, images(4))(images(4)), small(images(4)))
    assert close(cnncc.torch.compile(small, images(1), batch=3)(images(3)), small(images(3)))


def test_a_view_of_any_number_of_images() -> None:
    module = Bad(lambda m, x: (x * 2).view(x.shape[0], -1).view(-1, 3, x.shape[0] * 4 // x.shape[0])).eval()
    free = ({0: torch.export.Dim("batch", min=1, max=64)},)
    model = cnncc.torch.compile(module, torch.ones(2, 4, 3), dynamic_shapes=free)
    assert close(model(images(3)[:, 0, :4, :3]), module(images(3)[:, 0, :4, :3]))


@pytest.mark.parametrize("given", ["dynamic_shapes", "program"])
def test_any_number_of_images(small: Any, given: str) -> None:
    free = ({0: torch.export.Dim("batch", min=1, max=64)},)
    if given == "program":
        program = torch.export.export(small, (images(2),), dynamic_shapes=free)
        model = cnncc.torch.compile(program, batch=2)
    else:
        model = cnncc.torch.compile(small, images(2), dynamic_shapes=free, batch=2)
    assert model.model.batch == 2
    assert all(close(model(images(n)), small(images(n))) for n in (2, 3, 5))


class Halves(torch.nn.Module):
    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(6, 4, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return self.fc(x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_of_floats(dtype: Any) -> None:
    torch.manual_seed(2)
    module, x = Halves(dtype).eval(), torch.randn(2, 6, dtype=dtype)
    found = cnncc.torch.compile(module, x)(x)
    assert found.dtype == dtype
    assert torch.allclose(found, module(x), 2e-2, 2e-2)


def test_whole_numbers_go_in() -> None:
    torch.manual_seed(3)
    module, x = torch.nn.Sequential(torch.nn.Embedding(9, 5), torch.nn.Linear(5, 4)).eval(), torch.tensor([[1, 8, 0]])
    assert close(cnncc.torch.compile(module, x)(x), module(x))
    assert list(cnncc.torch.to_net(module, x).notes) == ["input input is float32 here, int64 in the program"]


class Bad(torch.nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def counts(module: Any, x: Any) -> Any:
    module.count.add_(1)
    return x + 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda m, x: torch.special.bessel_j0(x),
            r"special_bessel_j0 \(aten.special_bessel_j0.default\): this op is not",
        ),
        (lambda m, x: x + torch.rand(3), r"rand \(aten.rand.*\): random"),
        (lambda m, x: x + 1 if x.sum() > 0 else x, "PyTorch cannot export the module"),
        (counts, "the module changes count when it is called"),
        (lambda m, x: x.add_(1), "the module changes x when it is called"),
        (lambda m, x: torch.ones(3), "they depend on no input"),
        (lambda m, x: torch.fft.fft(x), "this op is not supported"),
    ],
)
def test_modules_that_are_refused(function: Any, message: str) -> None:
    with pytest.raises(CnnccError, match=message) as error:
        cnncc.torch.to_net(Bad(function).eval(), torch.ones(1, 3))
    assert "onnx" not in error.value.hint


def test_a_mistake_is_told_with_its_place_in_the_module() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), Bad(lambda m, x: torch.special.bessel_j0(x))).eval()
    with pytest.raises(CnnccError, match=r"node 1: special_bessel_j0"):
        cnncc.torch.to_net(module, torch.ones(1, 3))


def test_training_is_refused() -> None:
    module = Small()
    module.stem.eval()
    with pytest.raises(CnnccError, match="Small is in training mode") as error:
        cnncc.torch.compile(module, images(1))
    assert error.value.hint == "call module.eval() first"
    module.eval().drop.train()
    with pytest.raises(CnnccError, match=r"drop \(Dropout\) is in training mode"):
        cnncc.torch.compile(module, images(1))


def test_a_program_in_training_is_refused() -> None:
    program = torch.export.export(torch.nn.Dropout(0.5).train(), (torch.ones(2, 3),))
    with pytest.raises(CnnccError, match="dropout in training"):
        cnncc.torch.to_net(program)


def test_sizes_that_are_not_fixed_are_refused(small: Any) -> None:
    for axis, message in ((3, "axis 3 of input x has no largest size"), (2, "axis 2 of input x has no largest size")):
        with pytest.raises(CnnccError, match=message):
            cnncc.torch.compile(small, images(1), dynamic_shapes=({axis: torch.export.Dim("side", min=4)},))


def test_batches_that_are_refused(small: Any) -> None:
    mixing = Bad(lambda m, x: x - x.mean(0)).eval()
    with pytest.raises(CnnccError, match="along the batch"):
        cnncc.torch.compile(mixing, torch.ones(1, 3), batch=4)
    assert torch.equal(cnncc.torch.compile(mixing, torch.ones(4, 3))(torch.ones(4, 3)), torch.zeros(4, 3))
    with pytest.raises(CnnccError, match="the program is for a batch of 2, not 3"):
        cnncc.torch.compile(torch.export.export(small, (images(2),)), batch=3)
    two = Bad(lambda m, x: x[0] + x[1]).eval()
    with pytest.raises(CnnccError, match="no first axis in common"):
        cnncc.torch.compile(two, ([torch.ones(1, 3), torch.ones(2, 3)],), batch=4)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(CnnccError, match="a module of PyTorch or an ExportedProgram is needed, got function"):
        cnncc.torch.compile(counts, images(1))


class LeNet(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(
            *(torch.nn.Conv2d(1, 6, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
            *(torch.nn.Conv2d(6, 16, 5), torch.nn.ReLU(inplace=True), torch.nn.MaxPool2d(2)),
        )
        self.classifier = torch.nn.Sequential(
            *(torch.nn.Flatten(), torch.nn.Linear(400, 120), torch.nn.ReLU(), torch.nn.Linear(120, 10)),
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x))


PROGRAM = """
#include <stdio.h>
#include "lenet.h"
int main(void) {
  static float x[32 * 32], y[LENET_OUTPUT_FLOATS];
  static _Alignas(LENET_ARENA_ALIGN) unsigned char arena[LENET_ARENA_BYTES];
  if (fread(x, sizeof x, 1, stdin) != 1 || lenet_run(lenet_model_get(), 1, x, y, arena)) return 1;
  for (int i = 0; i < LENET_OUTPUT_FLOATS; i++) printf("%.9g\\n", y[i]);
  return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_from_training_to_a_c_program(tmp_path: Path) -> None:
    """A few steps of training, a module, a C program."""
    torch.manual_seed(4)
    module = LeNet()
    x, labels = torch.randn(8, 1, 32, 32), torch.arange(8)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(3):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(x), labels).backward()
        optimiser.step()
    cnncc.torch.compile(module.eval(), x[:1], name="lenet").save(tmp_path / "lenet.so")
    (tmp_path / "main.c").write_text(PROGRAM)
    command = ["gcc", "main.c", "./lenet.so", "-o", "main", "-Wl,-rpath,$ORIGIN"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(["./main"], cwd=tmp_path, input=x[0].numpy().tobytes(), capture_output=True, check=True)
    with torch.no_grad():
        assert np.allclose(np.array(done.stdout.split(), np.float32), module(x[:1]).numpy().ravel(), 1e-4, 1e-5)


def test_a_saved_module_needs_no_torch(small: Any, compiled: Any, tmp_path: Path) -> None:
    compiled.save(tmp_path / "small.so")
    found = cnncc.load(tmp_path / "small.so")(images(1).numpy())
    assert np.allclose(found, small(images(1)).detach().numpy(), 1e-4, 1e-5)
    with pytest.raises(InputError):
        cnncc.load(tmp_path / "small.so")(images(2).numpy())
