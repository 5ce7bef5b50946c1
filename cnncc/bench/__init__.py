"""cnncc against other runtimes: the same network and weights, in turns on the same machine."""

from cnncc.bench.contest import Contest, contest
from cnncc.bench.figures import DISAGREEMENT, Competitor, Result, geometric_mean, result
from cnncc.bench.job import Job, own_model, write_job
from cnncc.bench.peers import OURS, PEERS, installed, require

ZOO = (
    "alexnet", "zfnet", "vgg_d", "vgg_e", "googlenet", "resnet18", "resnet50_v1_5", "resnet152", "squeezenet1_1",
    "mobilenet_v1", "densenet121",
)  # fmt: skip
"""The networks of `cnncc bench --zoo`."""

__all__ = [
    "DISAGREEMENT",
    "OURS",
    "PEERS",
    "ZOO",
    "Competitor",
    "Contest",
    "Job",
    "Result",
    "contest",
    "geometric_mean",
    "installed",
    "own_model",
    "require",
    "result",
    "write_job",
]
