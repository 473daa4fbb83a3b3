"""How long work is done: where it runs, what it leaves on disk, how it is interrupted, continued and ended."""
