"""Kernels: for CPUs, for GPUs, and what they share."""
