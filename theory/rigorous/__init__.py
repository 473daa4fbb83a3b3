"""Proved means proved: final inequalities of the floors, ceilings and thresholds, with every number enclosed in a ball."""
