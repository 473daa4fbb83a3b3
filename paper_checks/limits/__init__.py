"""The limits on real data: trainings that are asked for their limits, and what is read off their curves."""
