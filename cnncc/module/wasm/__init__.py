"""Modules for WebAssembly: the linked code and the JavaScript that calls it."""
