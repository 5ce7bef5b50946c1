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

CUDA_KINDS = ("so", "h", "cu", "ptx", "cubin")
"""Of those, what a module for a GPU has."""

CPU_KINDS = ("so", "a", "o", "h", "hpp", "ll", "asm", "weights")
"""What a module for processors has."""

LISTINGS = ("ll", "asm")
"""Of those, what is of one target only."""
