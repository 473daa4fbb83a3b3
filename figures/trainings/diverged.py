"""Trainings that diverged, in figures: they have learned nothing, and count as 0 in curves and means."""

import pandas as pd


def as_zero(rows: pd.DataFrame, *measures: str) -> pd.DataFrame:
    """The rows with 0 for every measure that is missing: the survivors alone would make their arm look steadier."""
    return rows.assign(**{name: rows[name].fillna(0.0) for name in measures})


def counted_words(rows: pd.DataFrame, measure: str) -> str:
    """How many trainings diverged, for titles; nothing where none did.

    Args:
        rows: one a training, before ``as_zero``.
        measure: a column that is missing where a training diverged.
    """
    count = int(rows[measure].isna().sum())
    return f"diverged trainings count as 0: {count} of {len(rows)}" if count else ""
