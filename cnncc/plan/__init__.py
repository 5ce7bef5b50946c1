"""Memory planning: which values share memory, in which order steps run, and where each value lies in the arena."""
