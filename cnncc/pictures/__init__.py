"""Pictures from files as inputs of a network, and how each is cut and resized."""
