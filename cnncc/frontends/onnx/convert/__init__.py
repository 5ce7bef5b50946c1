"""What each ONNX op is here: one rule an op, one family a file. A file may say in WRITTEN how ops are written, too."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from cnncc.base.discovery import gathered
from cnncc.frontends.onnx.convert import microsoft
from cnncc.frontends.onnx.schema import DOMAINS
from cnncc.frontends.onnx.site import OnnxSite, Tensor

_Rule = Callable[[OnnxSite], Tensor | list[Tensor]]

APART = ("microsoft", "sequences")
"""Files whose rules are for another domain, or for what is no tensor."""
RULES: Mapping[str, _Rule] = gathered(sys.modules[__name__], "RULES", without=APART)
"""Every ONNX op that may be computed; what depends on known tensors only is evaluated by `onnx_fold.py`."""
RULES_OF: Mapping[str, Mapping[str, _Rule]] = {
    **dict.fromkeys(DOMAINS, RULES),
    "com.microsoft": microsoft.RULES,
}
"""The rules of each domain that has any."""
