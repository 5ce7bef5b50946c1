"""CPU kernels: which one computes a node, and its configuration. `lower` makes code of it."""
