"""Running modules for NVIDIA GPUs: which driver they use. Stands alone, as all of `cnncc.runtime`."""
