"""A training: its settings, its state, and the loop."""
