"""What claims train: arms, learning rates that are chosen, two processes, and which transformations features tell."""
