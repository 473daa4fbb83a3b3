"""Definitions and theorems: at the top of this folder each stands in a file of its own, the proofs in theory.md.

judging/ holds what is claimed and what was found, lemmas/ the steps that proofs share, batches/ rows by cluster and
what a stack did to them, numerics/ arguments, tolerances, quadrature and files. Nothing here imports torch: functions
accept NumPy arrays and torch tensors alike (array API). The statements and proofs are this toolkit's own, for the
architecture of TransFusion (arXiv 2403.18681).
"""

from theory.console.start import start

start(__name__, __path__)
