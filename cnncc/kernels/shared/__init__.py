"""What CPU and GPU kernels share: the specification of a kernel, the builder of its statements, and formulas."""
