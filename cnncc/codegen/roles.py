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
}
"""The kinds of files, and how messages call them."""
