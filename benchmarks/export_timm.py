"""Exports the networks of `timm.toml` to ONNX, as users of PyTorch do. Runs in an environment with torch, timm and
torchvision; see `make bench-timm`.

    python benchmarks/export_timm.py FOLDER [NAME ...]

Of each network NAME.onnx, and NAME.pt2, which is the same program for PyTorch itself. One that is in the folder already
is left as it is. Weights are random, from seed 0, and so are the statistics of
batch norms: with those of a new network (mean 0, variance 1) a mistake in folding would not show.
"""

from __future__ import annotations

import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any

import torch

LIST = Path(__file__).with_name("timm.toml")
SIZE = (3, 224, 224)
"""Of images for torchvision, which does not say."""


class FirstOutput(torch.nn.Module):
    """Segmentation networks of torchvision return a dictionary."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.network(x)
        return result["out"] if isinstance(result, dict) else result


def of_timm(name: str) -> tuple[torch.nn.Module, tuple[int, ...]]:
    import timm

    network = timm.create_model(name, pretrained=False)
    return network, tuple(network.default_cfg["input_size"])


def of_torchvision(name: str) -> tuple[torch.nn.Module, tuple[int, ...]]:
    from torchvision import models

    backbone = {"weights_backbone": None} if name in models.list_models(module=models.segmentation) else {}
    return FirstOutput(models.get_model(name, weights=None, **backbone)), SIZE


MAKERS = {"timm": of_timm, "torchvision": of_torchvision}


def made(maker: Any, name: str) -> tuple[torch.nn.Module, tuple[int, ...]]:
    """A network with random weights, and the size of its image."""
    torch.manual_seed(0)
    network, size = maker(name)
    network.eval()
    for part in network.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return network, size


def export(maker: Any, name: str, path: Path) -> None:
    """Writes a network with random weights for one image."""
    network, size = made(maker, name)
    program = torch.export.export(network, (torch.randn(1, *size),))
    unfinished = path.with_suffix(".part")
    torch.export.save(program, unfinished)
    unfinished.rename(path.with_suffix(".pt2"))
    torch.onnx.export(program, (), unfinished, dynamo=True, external_data=False, verbose=False)
    unfinished.rename(path)


def main() -> int:
    folder, *wanted = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    failed = 0
    for source, names in tomllib.loads(LIST.read_text()).items():
        for name in names:
            path = Path(folder, f"{name}.onnx")
            if source not in MAKERS or path.exists() or (wanted and name not in wanted):
                continue
            print(f"exporting {name}", file=sys.stderr, flush=True)
            try:
                export(MAKERS[source], name, path)
            except Exception as error:  # one network that torch cannot export must not keep the others
                print(f"{name}: {type(error).__name__}: {error}"[:500], file=sys.stderr)
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
