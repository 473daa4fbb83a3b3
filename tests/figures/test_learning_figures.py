"""Accuracy against minutes: what the figure shows of its table, and what compare makes of runs."""

import numpy as np
import pandas as pd

from figures.catalogue import FIGURES
from figures.trainings import learning_speed
from figures.words import seen
from models.cifar.compare import learning_rows, main, read_run
from tests.figures.battery import Draws, case
from tests.figures.reading import curves, horizontals, legend
from tests.models.cifar.training.test_old_runs import OLD


def learning_table(draws):
    """Two seeds of one row, of which one was measured once more, and one of another."""
    rows = [{"name": name, "run": run, "epoch": epoch, "chance": 0.25}
            for name, run, epochs in (("slow", "s0", (2, 4)), ("fast", "f0", (1, 2, 3)), ("fast", "f1", (1, 2)))
            for epoch in epochs]  # fmt: skip
    table = pd.DataFrame(rows)
    table["minutes"], table["knn"] = table["epoch"] * 1.5 + draws(len(rows), 0.0, 0.4), draws(len(rows), 0.1, 0.9)
    return draws.shuffled(table, "name", "run")


def test_the_figure_is_in_the_catalogue_under_its_name():
    assert FIGURES["learning_speed"] == (("learning",), learning_speed.draw)


@case("learning_speed")
def test_accuracy_against_minutes(draw):
    table = learning_table(Draws(3))
    figure = draw({}, learning=table)
    (ax,) = figure.axes
    drawn = [(curve.x, curve.y) for curve in curves(ax)]
    expected = []
    for _, rows in table.groupby("name", sort=False):
        for _, run in rows.groupby("run", sort=False):
            run = run.sort_values("epoch")
            expected.append((run["minutes"], run["knn"]))
        both = rows[rows["epoch"] < 3] if rows["run"].nunique() == 2 else rows
        expected.append(tuple(both.groupby("epoch")[column].mean() for column in ("minutes", "knn")))
    assert len(drawn) == len(expected)
    for found, wanted in zip(drawn, expected):
        np.testing.assert_allclose(found, wanted)
    assert [height for height, _ in horizontals(ax)] == [0.25]
    assert set(legend(ax)) == {"slow, 1 seed", "fast, 2 seeds", "chance"}


@case("learning_speed")
def test_names_are_text_and_eight_of_them_look_different(draw):
    """Whatever pandas would take a name for: nothing, or a number."""
    names = ["None", "NA", "01", "1e3", "null", "True", "N/A", "1.0"]
    rows = [{"name": name, "run": name, "epoch": epoch, "minutes": epoch * (1.0 + place), "knn": 0.1 * place + 0.1,
             "chance": np.nan} for place, name in enumerate(names) for epoch in (1, 2)]  # fmt: skip
    figure = draw({}, learning=pd.DataFrame(rows))
    assert "1.0, 1 seed: stays near 0.8" in seen(figure), "and are not taken for one another"
    found = legend(figure.axes[0])
    assert list(found) == [f"{name}, 1 seed" for name in names]
    assert len(set(found.values())) == len(names)


def test_minutes_are_those_of_all_epochs_so_far(tmp_path):
    run = read_run(OLD)
    rows = learning_rows([[run]], ["a"])
    seconds = np.cumsum([float(row["seconds"]) for row in run.epochs])
    measured = [i for i, row in enumerate(run.epochs) if row["knn"]]
    assert [row["epoch"] for row in rows] == [i + 1 for i in measured]
    np.testing.assert_allclose([row["minutes"] for row in rows], seconds[measured] / 60.0)


def test_the_figure_is_drawn_into_a_folder_and_names_are_counted(tmp_path, capsys):
    assert main([str(OLD), "--names", "old", "--curves", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / "learning_speed.png").stat().st_size > 0
    assert pd.read_csv(tmp_path / "c" / "learning.csv")["name"].unique().tolist() == ["old"]
    assert main([str(OLD), "--names", "one", "two"]) == 2
    assert "--names: must be 1 different names, one a row, got 2" in capsys.readouterr().err
    assert main([str(OLD), "--curves", str(tmp_path / "c")]) == 2
