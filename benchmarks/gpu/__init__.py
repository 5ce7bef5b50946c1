"""The first run on a GPU: `pack.py` here, `run.py` there; see docs/cuda.md."""
