"""Modules for NVIDIA GPUs: one CUDA source per network, machine code of it, and the host's part."""
