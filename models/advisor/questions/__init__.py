"""What the advisor asks of embeddings, a file each."""
