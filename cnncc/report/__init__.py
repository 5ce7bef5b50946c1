"""What is told about a network or module: its summary, memory, profile, and whether its answers are right."""
