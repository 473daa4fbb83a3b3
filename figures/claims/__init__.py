"""Figures of a paper's claims: what decides one, and the curves, matrices and distributions behind it."""
