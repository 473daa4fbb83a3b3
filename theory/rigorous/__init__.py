"""Proved means proved: the final inequalities of floors, ceilings and thresholds, every number enclosed in a ball."""
