"""Figures of the sweeps and searches: what was measured, against what is proved."""
