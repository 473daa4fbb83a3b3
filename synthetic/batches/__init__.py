"""What batches are made of: clusters on subspaces, noise, and the seeds that everything is drawn from."""
