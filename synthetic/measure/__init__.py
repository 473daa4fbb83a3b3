"""What is read off batches: one block's graph, denoising, and where a measured rate crosses a level."""
