"""Whether a run folder is what its run has left, and its verdicts those of its rows."""
