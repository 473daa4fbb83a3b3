"""Definitions, theorems and verdicts: everything that is proved, with the code that checks a measurement against it.

Nothing here imports torch: functions accept NumPy arrays and torch tensors alike (array API).
The statements and proofs are this toolkit's own, for the architecture of TransFusion (arXiv 2403.18681).
"""
