"""Kernels for NVIDIA GPUs: their choice here, which needs no TVM, and their lowerings in `lower`."""
