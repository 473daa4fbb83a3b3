"""Files with embeddings: read without running anything that is in them, checked row by row."""
