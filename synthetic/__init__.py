"""Synthetic batches with known geometry, the experiments that run them, and their command lines."""

from theory.numerics.commands import guard_start

guard_start(__name__, list(__path__))
