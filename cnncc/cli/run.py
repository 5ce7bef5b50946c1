"""`cnncc run`: a network or a compiled module on images, arrays, or folders of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncc.cli import changes, command

if TYPE_CHECKING:
    import argparse


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", metavar="NET|MODEL", help="a network as for `cnncc compile`, or a compiled .so")
    what = "images, .npy arrays of one or several images, or folders: all images and arrays below them"
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help=what)
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line or a JSON list")
    what = "a table of files and their classes, to count how often the network is right; without it the names of the "
    what += "images' folders are taken, if each is one of --labels"
    parser.add_argument("--truth", metavar="FILE", help=what)
    parser.add_argument("--top", type=command.positive, default=5, metavar="N", help="classes to print (default: 5)")
    what = "write the results: .csv and .json hold the best classes; .npy the only output, .npz all of them by name"
    parser.add_argument("-o", "--output", metavar="FILE", help=what)
    changes.add_changes(parser)
    command.add_build_options(parser)
    command.add_weight_options(parser)
    command.add_weights_dtype(parser)
    command.add_tune(parser)
    command.add_json(parser)
    command.hold_defaults(parser)


def _run(args: argparse.Namespace) -> int:
    from cnncc.cli.run_job import run

    return run(args)


COMMAND = command.Command(
    name="run",
    help="run a network or a compiled module on images, folders or .npy arrays and print the best classes",
    examples="""
        cnncc run models/lenet5.net digit.png
        cnncc run resnet50.so cat.jpg --labels imagenet.txt --top 3
        cnncc run resnet50.so photos/ --labels imagenet.txt --top 1 -o photos.csv
        cnncc run efficientnet_lite0 --weights q.safetensors photos/ --labels imagenet.txt --truth photos.csv -q
        cnncc run my.net x.npy -o y.npy
        cnncc run mobilenet_v2 --shape 3x320x320 cat.jpg
        cnncc run two_heads.net x.npy -o heads.npz
    """,
    configure=_configure,
    run=_run,
)
