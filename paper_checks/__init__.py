"""Checks of the papers' claims, one claim a check. No claim has a check yet."""

from theory.numerics.commands import guard_start

guard_start(__name__, list(__path__))
