"""Figures of trainings, on synthetic batches and on images."""
