"""Synthetic batches with known geometry, the experiments that run them, and their command lines."""
