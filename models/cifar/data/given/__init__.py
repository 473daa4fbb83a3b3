"""Images that a program has in hand: arrays, and datasets of torch."""
