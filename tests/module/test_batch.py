"""A batch gives each image the bits it gets alone, whichever way a step walks images and pieces."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc import api, lang, weights
from cnncc.kernels.shared.operands import PackedWeight
from cnncc.module.cpu.build import Build
from cnncc.options import Options

HEAVY = "net heavy\ninput 40x5x7\nconv 3x3 48 relu; conv 1x1 72 bn relu; conv 3x3 33 groups 3"
"""More bytes of weights than of an image: images innermost."""
LIGHT = "net light\ninput 3x41x37\nconv 3x3 8 relu; conv 1x1 9; maxpool 3x3 /2"
"""The other way round: pieces innermost."""


def built(text: str, batch: int, threads: int) -> Build:
    return api.build(weights.bind(lang.parse(text)), Options(batch=batch, threads=threads))


@pytest.mark.parametrize(("text", "innermost"), [(HEAVY, True), (LIGHT, False)], ids=["heavy", "light"])
@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_as_alone(text: str, innermost: bool, threads: int) -> None:
    many, alone = built(text, 5, threads), built(text, 1, 1)
    # A call that only pads the image, as some processors want it, has no weights whose bytes could count.
    convs = [c for c in many.program.calls if any(isinstance(operand, PackedWeight) for operand in c.operands)]
    assert {many.program.images_innermost(c) for c in convs} == {innermost}
    images = np.random.default_rng(3).standard_normal(many.model().inputs[0].shape, dtype=np.float32)
    results = many.model()(images)
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(alone.model()(image[None])[0], result)


def test_an_output_that_depends_on_no_input_is_there_for_each_image() -> None:
    text = "net t\ninput 4x3x3\nsave x\nconst k 4x3x3\ngelu_tanh\noutput\nfrom x\nadd { | from k }\noutput\n"
    images = np.random.default_rng(3).standard_normal((5, 4, 3, 3), dtype=np.float32)
    alone = built(text, 1, 1).model()
    model = built(text, 2, 1).model()
    for results in (model(images[:2]), model.run_many(images)):
        for i, image in enumerate(images[: len(results[0])]):
            for got, want in zip(results, alone(image[None]), strict=True):
                np.testing.assert_array_equal(got[i], want[0])
