"""From a float32 network to one on bytes: which values become bytes, by which scales, and the graph that this gives."""
