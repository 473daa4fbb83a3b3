"""Rows in, axes out: every figure is drawn from a run folder's files and computes nothing."""
