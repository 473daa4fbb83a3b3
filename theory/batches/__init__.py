"""Batches with labels: rows by cluster, what a stack did layer by layer, measurements in tiles."""
