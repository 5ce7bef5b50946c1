"""Fully connected layers of many images: tiles of a 1x1 convolution beside the reference, and when they are chosen."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from cuda.test_kernels import check_all, program
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cnncc import lang, weights
from cnncc.kernels.gpu import dense
from cnncc.machines import gpus
from cnncc.module.gpu.program import CudaProgram, kernel_of
from cnncc.module.lower import lower
from cnncc.options import DTYPES, Options

TEXTS = {
    "vectors": "input {d}\nfc {o} relu; fc {p}",
    "added": "input {o}\nadd {{ fc {o} | }} relu; fc {p}",
    "images": "input {c}x{h}x4\nfc {o} relu",
    "halves": "input {c}x{h}x3\nconv 1x1 {c} relu; save a; fc {o} relu; fc {p}; output; from a; gap; fc {o}; output",
}
"""Of values of whole blocks, and of images whose channels may fill none."""


def tiled(body: str, batch: int, dtype: str) -> CudaProgram:
    """The program with all layers in tiles that can be."""
    with pytest.MonkeyPatch.context() as patch:
        plain = dense._of_vectors
        patch.setattr(dense, "_of_vectors", lambda site: (plain(site)[0], math.inf))
        return program(body, batch, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", TEXTS)
@settings(
    max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_tiles(text: str, dtype: str, data: st.DataObject, kept: Path) -> None:
    numbers = st.sampled_from([4, 8, 28, 32, 36, 60, 64, 68, 132, 260])
    d, o, p = (data.draw(numbers) for _ in range(3))
    body = TEXTS[text].format(d=d, o=o, p=p, c=data.draw(st.integers(1, 17)), h=data.draw(st.integers(1, 5)))
    chosen = tiled(body, data.draw(st.sampled_from([8, 9, 31, 33, 70])), dtype)
    assert any("gemm" in kernel.name for kernel in chosen.kernels)
    check_all(chosen, kept, (0, 3))


def kernels(text: str, batch: int, dtype: str, target: str = "cuda-sm_90") -> list[str]:
    graph = weights.bind(lang.parse(f"net t\n{text}\n"), None)
    chosen = lower(graph, gpus.load(target), Options(batch=batch, dtype=dtype))
    return [kernel_of(c).name for c in chosen.calls if chosen.graph[c.node].op == "fc"]


@pytest.mark.parametrize(
    ("dtype", "target", "kernel"),
    [
        ("float32", "cuda-sm_90", "gemm_f32_nchw4c"),
        ("tf32", "cuda-sm_90", "gemm_tf32_nchw4c"),
        ("float16", "cuda-sm_90", "gemm_tf32_nchw4c"),  # gap gives float32
        ("float16", "cuda-sm_75", "gemm_f32_nchw4c"),
    ],
)
def test_a_large_layer_of_many_images_is_in_tiles(dtype: str, target: str, kernel: str) -> None:
    text = "input 64x7x7\nconv 1x1 2048 relu; gap; fc 1000"
    (many,) = kernels(text, 128, dtype, target)
    assert many.startswith(kernel)
    assert all(name.startswith("fc_") for n in (1, 4) for name in kernels(text, n, dtype, target))


def test_an_image_of_halves_goes_to_tensor_cores_as_it_is() -> None:
    (name,) = kernels("input 64x7x7\nconv 1x1 512 relu; fc 4096 relu", 64, "float16")
    assert name.startswith("gemm_f16_nchw8c")


@pytest.mark.parametrize("text", ["input 256\nfc 1001", "input 255\nfc 1000"])
def test_numbers_that_fill_no_blocks_are_in_vectors(text: str) -> None:
    assert kernels(text, 128, "float32")[0].startswith("fc_")
