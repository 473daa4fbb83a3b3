"""Rows in, axes out: every figure is drawn from a run folder's files and computes nothing."""

from theory.numerics.commands import guard_start

guard_start(__name__, list(__path__))
