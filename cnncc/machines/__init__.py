"""What modules are compiled for: processors and GPUs, read from `targets/*.toml`."""
