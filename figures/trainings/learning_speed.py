"""Trainings on real images against the time that they took."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from figures.claims.style import looks_of
from figures.run_folder import RunFolder


def draw(run: RunFolder) -> Figure:
    """kNN accuracy on validation images against minutes of training: thin lines are seeds, thick ones their mean, where
    all of them were measured after the same epochs. What is chosen by chance is dotted."""
    learning = run.tables["learning"]
    figure, ax = plt.subplots(figsize=(4.6, 3.2))
    looks = looks_of(learning.assign(curve=learning["name"]))
    for name, rows in learning.groupby("name", sort=False):
        look = looks[str(name)]
        for _, seed in rows.groupby("run", sort=False):
            seed = seed.sort_values("epoch")
            ax.plot(seed["minutes"], seed["knn"], color=look["color"], linewidth=0.7, alpha=0.4)
        mean = rows.groupby("epoch").agg({"minutes": "mean", "knn": "mean", "run": "size"})
        mean = mean[mean["run"] == rows["run"].nunique()]
        ax.plot(mean["minutes"], mean["knn"], linewidth=2.0, label=f"{name}, {_seeds(rows)}", **look)
    chance = learning["chance"].dropna().unique()
    if len(chance) == 1:
        ax.axhline(chance[0], color="0.5", linestyle=":", label="chance")
    ax.set_xlabel("minutes of training")
    ax.set_ylabel("kNN accuracy, validation")
    ax.set_xlim(left=0.0)
    ax.set_ylim(0.0, 1.0)
    ax.legend()
    return figure


def _seeds(rows: pd.DataFrame) -> str:
    count = rows["run"].nunique()
    return f"{count} seed{'s' if count > 1 else ''}"
