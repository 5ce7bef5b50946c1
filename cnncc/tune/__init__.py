"""`--tune`: measures kernels on this machine instead of trusting the model that picks them."""

from cnncc.tune.network import tune

__all__ = ["tune"]
