"""Attention blocks over the batch and the stacks built from them."""

from theory.numerics.commands import guard_start

guard_start(__name__, list(__path__))
