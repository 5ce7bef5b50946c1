"""Reads a handwritten digit with LeNet-5: the module alone, no compiler.

cnncc compile lenet5 -o lenet5.so
python digit.py lenet5.so digit.png
"""

from __future__ import annotations

import sys

import cnncc
from cnncc.pictures import images


def main() -> None:
    module, picture = sys.argv[1:]
    model = cnncc.load(module)
    (port,) = model.inputs
    # The network's text has a mean and a std, which the module applies: it is given pixels of 0 to 255.
    scores = model(images.load(picture, port.shape[1:], std=(1,)))
    print("class  probability")
    for digit, share in enumerate(scores[0]):
        print(f"{digit:5}  {share:.9f}")


if __name__ == "__main__":
    main()
