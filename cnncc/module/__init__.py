"""From a graph to a module: kernels and memory planned, linked with glue and weights for CPU, GPU or WebAssembly."""
