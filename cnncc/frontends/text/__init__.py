"""A graph as a text that people read: blocks and repeats where its structure has them, labels from its names."""
