"""Attention blocks over the batch and the stacks built from them."""
