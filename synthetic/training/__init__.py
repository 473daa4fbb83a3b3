"""Stacks that are trained on synthetic batches, beside ideal weights."""
