"""Advice about a user's own embeddings."""
