"""What kernels of one family differ in, by name: mypy refuses any other word, and a comparison with one."""

from __future__ import annotations

from typing import Literal

WindowMode = Literal["depthwise", "max", "avg"]
"""What is made of the pixels under a window: products with weights, or a pool of them."""
PoolMode = Literal["avg", "max", "sum"]
"""What is made of a whole plane."""
ResampleMode = Literal["crop", "constant", "edge", "reflect", "wrap", "nearest", "bilinear"]
"""Where the pixels of a moved image come from: a part of it, its surroundings, or between its pixels."""
SampleMode = Literal["nearest", "linear", "cubic"]
"""How a value between pixels is made."""
RoiMode = Literal["avg", "max"]
"""What is made of the samples of a bin."""

WINDOW_POOLS: dict[str, WindowMode] = {"maxpool": "max", "avgpool": "avg"}
"""The mode of each op."""
CHANNEL_POOLS: dict[str, PoolMode] = {"channel_mean": "avg", "channel_max": "max", "channel_sum": "sum"}
"""Op -> how it combines the channels of a pixel."""
GLOBAL_POOLS: dict[str, PoolMode] = {"gap": "avg", "gmp": "max", "gsum": "sum"}
