"""Modules for processors: kernels, glue and weights linked into a library, with its header."""
