"""The battery over the catalogue of figures: a planted table goes in, and every test reads back what is drawn."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from figures.catalogue import FIGURES
from figures.run_folder import RunFolder, parse_table
from figures.words import seen
from tests.figures.reading import assert_inside


def case(figure: str, leaves: bool = False) -> Callable[[Callable], Callable]:
    """Marks a test as a case of a figure of the catalogue; its fixture ``draw`` then draws that figure.

    Args:
        leaves: something leaves its panel on purpose, and the test says what.
    """

    def mark(test: Callable) -> Callable:
        test.figure, test.leaves = figure, leaves
        return test

    return mark


def draw_figure(name: str, config: dict, tables: dict[str, pd.DataFrame], leaves: bool) -> Figure | None:
    """A figure of the catalogue, from tables that went through CSV as a run's do.

    Raises:
        AssertionError: a table that the catalogue asks for is missing, something is drawn outside its panel, or the
            figure has nothing to say of a panel.
    """
    needed, draw = FIGURES[name]
    assert set(needed) <= set(tables), f"{name} needs {needed}"
    read = {key: parse_table(table.to_csv(index=False)) for key, table in tables.items()}
    figure = draw(RunFolder(Path("run"), config, read))
    if figure is not None:
        if not leaves:
            assert_inside(figure)
        words = seen(figure)
        assert words
        assert len(re.findall(r"\d", words)) > 3 or not figure.axes, f"{name} says nothing of its numbers: {words}"
        assert "nan" not in words, words
    return figure


class Draws:
    """Values that tell columns apart: all distinct, irregular, in no order, the same in every run."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)

    def __call__(self, count: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """``count`` values in [low, high]."""
        return self.rng.uniform(low, high, count)

    def shuffled(self, table: pd.DataFrame, *groups: str) -> pd.DataFrame:
        """Rows in an order that no figure may rely on, but that the first rows of groups keep: names appear in
        legends in the order of the table."""
        mixed = table.iloc[self.rng.permutation(len(table))]
        if not groups:
            return mixed.reset_index(drop=True)
        order = {key: i for i, key in enumerate(dict.fromkeys(zip(*(table[name] for name in groups))))}
        place = [order[key] for key in zip(*(mixed[name] for name in groups))]
        return mixed.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def lowest_middle_highest(draws: Draws, count: int, low: float = 0.05, high: float = 0.95) -> np.ndarray:
    """Columns low, middle, high of an interval, (3, count), nowhere symmetric."""
    middle = draws(count, low + 0.3 * (high - low), low + 0.7 * (high - low))
    return np.stack(
        [middle - draws(count, 0.02, 0.25) * (high - low), middle, middle + draws(count, 0.02, 0.25) * (high - low)]
    )
