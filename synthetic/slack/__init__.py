"""How much the proved numbers give away: each measured against what simulated batches allow, a file each."""
