"""What each ATen op is in ops of ONNX: one rule an op, one family a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from cnncc.base.discovery import gathered
from cnncc.frontends.torch.call import AtenRule

RULES: Mapping[str, AtenRule] = gathered(sys.modules[__name__], "RULES")
"""By namespace and name, such as `aten.conv2d`: all that is not here PyTorch takes apart into its core ops."""
