"""The kinds of files that the compiler writes."""

ROLES = {
    "so": "the module",
    "a": "the archive",
    "o": "the object",
    "h": "its header",
    "hpp": "its C++ header",
    "ll": "its LLVM IR",
    "asm": "its assembly",
    "weights": "its weights",
    "cu": "its CUDA source",
    "ptx": "its PTX",
    "cubin": "its GPU code",
}
"""The kinds of files, and how messages call them."""

CUDA_KINDS = ("cu", "ptx", "cubin")
"""Of those, what only a module for a GPU has; of the others it has `so` and `h`."""
