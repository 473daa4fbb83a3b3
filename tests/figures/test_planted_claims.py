"""Figures of claims, from planted tables: what stands in a table stands in the figure, and at its place."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from figures.claims import contrasts, curves, scores, style
from figures.run_folder import read_run_folder
from tests.figures.reading import bars
from theory.numerics.whole_files import write_json, write_table

ROOT = Path(__file__).parents[2]
SEEDS = range(5)


@pytest.fixture
def run_of(tmp_path):
    """A claim's folder with the tables given."""

    def make(**tables):
        write_json(tmp_path / "config.json", {"claim": "X1", "wording": "w", "answer": "undecided", "tier": "quick"})
        for name, rows in tables.items():
            write_table(tmp_path / f"{name}.csv", rows)
        return read_run_folder(tmp_path)

    yield make
    plt.close("all")


def contrast(name="a over b", difference=0.02, low=0.01, high=0.03, side="above", **others):
    return {"contrast": name, "measure": "accuracy", "direction": "above", "seeds": 5, "first": 0.8, "second": 0.78,
            "difference": difference, "low": low, "high": high, "side": side, **others}  # fmt: skip


def point(value, seed, accuracy, curve="", **others):
    return {"factor": "batch size", "value": value, "curve": curve, "arm": f"{value}", "seed": seed,
            "accuracy": accuracy, **others}  # fmt: skip


def half_width(values):
    return stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_contrasts_lie_where_their_numbers_are(run_of):
    rows = [
        contrast(),
        contrast("c over d", -0.02, -0.03, -0.01, "below"),
        contrast("e", 0.0, -0.01, 0.01, "undecided"),
    ]
    figure = contrasts.draw(run_of(contrasts=rows))
    (ax,) = figure.axes
    intervals = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] in (0, 1, 2)]
    intervals = [line for line in intervals if line.get_ydata()[0] == line.get_ydata()[1]]
    np.testing.assert_allclose([line.get_xdata() for line in intervals], [[1, 3], [-3, -1], [-1, 1]])
    marks = [line for line in ax.lines if len(line.get_xdata()) == 1]
    np.testing.assert_allclose([line.get_xdata()[0] for line in marks], [2.0, -2.0, 0.0])
    assert len({(line.get_marker(), line.get_color()) for line in marks}) == 3, "a side has its own shape and color"
    assert len({line.get_marker() for line in marks}) == 3
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a over b", "c over d", "e"]
    low, high = ax.get_xlim()
    assert low < -3.0
    assert high > 3.0


def test_long_names_of_differences_do_not_run_into_each_other(run_of):
    long = "each at its best learning rate: labels: on every block over the last one only"
    figure = contrasts.draw(run_of(contrasts=[contrast(long), contrast(f"{long}, again")]))
    figure.canvas.draw()
    first, second = (text.get_window_extent() for text in figure.axes[0].get_yticklabels())
    assert all(text.get_text().count("\n") >= 2 for text in figure.axes[0].get_yticklabels())
    assert second.y1 <= first.y0


def test_the_shade_is_on_the_claimed_side(run_of):
    rows = [contrast(), contrast("either", -0.02, -0.03, -0.01, "below", direction="differs")]
    figure = contrasts.draw(run_of(contrasts=rows))
    one, either = [shade.get_paths()[0].get_extents() for shade in figure.axes[0].collections]
    assert one.x0 == 0.0
    assert either.x0 < -3.0
    assert legend_texts(figure) == ["on the claimed side", "claimed side"]


def test_every_measure_has_a_panel_of_its_own(run_of):
    rows = [contrast(), contrast("loss", 3.0, 1.0, 5.0, measure="nats"), contrast("again")]
    figure = contrasts.draw(run_of(contrasts=rows))
    assert [len(ax.get_yticklabels()) for ax in figure.axes] == [2, 1]
    assert figure.axes[1].get_xlabel() == "difference: nats"


def test_verdicts_of_theorems_are_no_contrasts(run_of):
    verdict = {"contrast": "Theorem 1", "measure": "spread", "cases": 7, "measured": 0.1, "bound": 0.2, "side": "HOLDS"}
    assert contrasts.draw(run_of(contrasts=[verdict])) is None
    figure = contrasts.draw(run_of(contrasts=[verdict, contrast()]))
    assert len(figure.axes[0].get_yticklabels()) == 1
    assert contrasts.draw(run_of(contrasts=[contrast(difference=None, low=None, high=None)])) is None


def test_a_single_seed_has_a_mark_and_no_interval(run_of):
    rows = [contrast(low=None, high=None, side="undecided", seeds=1)]
    figure = contrasts.draw(run_of(contrasts=rows))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [1, 2]
    assert "seed" not in figure.get_suptitle()


def test_numbers_become_a_line_a_curve_with_intervals(run_of):
    values = {("one", 32): [0.5, 0.6, 0.7], ("one", 512): [0.7, 0.7, 0.8], ("two", 32): [0.4, 0.4, 0.5]}
    rows = [point(size, seed, each, curve) for (curve, size), all_ in values.items() for seed, each in enumerate(all_)]
    figure = curves.draw_curves(run_of(points=rows))
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    assert legend_texts(figure) == ["one", "two"]
    lines = {bar.get_label(): bar for bar in ax.containers}
    main, _, (bars,) = lines["one"].lines
    np.testing.assert_array_equal(main.get_xdata(), [32, 512])
    np.testing.assert_allclose(main.get_ydata(orig=False), [0.6, np.mean([0.7, 0.7, 0.8])])
    (_, low), (_, high) = bars.get_segments()[0]
    np.testing.assert_allclose([low, high], 0.6 + half_width([0.5, 0.6, 0.7]) * np.array([-1, 1]))
    single = [line for line in ax.lines if line.get_alpha() is not None]
    assert sum(len(line.get_xdata()) for line in single) == len(rows)


def test_numbers_close_together_have_a_plain_axis(run_of):
    rows = [point(value, seed, 0.5 + 0.01 * seed) for value in (0.0, 0.5, 0.99) for seed in SEEDS]
    figure = curves.draw_curves(run_of(points=rows))
    assert figure.axes[0].get_xscale() == "linear"
    assert legend_texts(figure) == []


def test_categories_show_h_beside_z(run_of):
    rows = [point(name, seed, level, h_linear=level, z_linear=level - 0.2)
            for name, level in (("MLP", 0.8), ("linear", 0.7), ("128", 0.6)) for seed in SEEDS]  # fmt: skip
    h, z = curves.draw_curves(run_of(points=rows)).axes
    assert [text.get_text() for text in h.get_yticklabels()] == ["MLP", "linear", "128"]
    np.testing.assert_allclose(h.containers[0].lines[0].get_xdata(orig=False), [0.8, 0.7, 0.6])
    np.testing.assert_allclose(z.containers[0].lines[0].get_xdata(orig=False), [0.6, 0.5, 0.4])
    assert h.get_xlim() == z.get_xlim(), "h and z can be compared"


def test_z_of_one_category_alone_has_no_panel(run_of):
    rows = [point(name, seed, level, h_linear=level, z_linear=level - 0.2 if name == "MLP" else None)
            for name, level in (("MLP", 0.8), ("linear", 0.7)) for seed in SEEDS]  # fmt: skip
    (ax,) = curves.draw_curves(run_of(points=rows)).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["MLP", "linear"]
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xdata(orig=False), [0.8, 0.7])


def test_categories_without_h_and_z_and_with_curves(run_of):
    rows = [point(name, seed, 0.5, curve) for name in ("hue", "noise") for curve in "hz" for seed in SEEDS]
    figure = curves.draw_curves(run_of(points=rows))
    (ax,) = figure.axes
    places = [bar.lines[0].get_ydata() for bar in ax.containers]
    assert len(places) == 2
    assert not set(places[0]) & set(places[1]), "curves lie beside each other"


def test_every_factor_has_its_own_row(run_of):
    rows = [point(value, seed, 0.5) for value in (1, 2) for seed in SEEDS]
    rows += [{**point(value, seed, 0.5), "factor": "head"} for value in ("none", "MLP") for seed in SEEDS]
    figure = curves.draw_curves(run_of(points=rows))
    assert [ax.get_xlabel() or ax.get_ylabel() for ax in figure.axes] == ["batch size", "accuracy"]
    assert figure.axes[1].get_ylabel() == "head"


def test_a_missing_accuracy_leaves_no_interval(run_of):
    rows = [
        point(value, seed, None if (value, seed) == (2, 0) else 0.5 + 0.01 * seed) for value in (1, 2) for seed in SEEDS
    ]
    (ax,) = curves.draw_curves(run_of(points=rows)).axes
    main, _, (bars,) = ax.containers[0].lines
    np.testing.assert_allclose(main.get_ydata(orig=False), [0.52, 0.525])
    drawn = [segment for segment in bars.get_segments() if np.isfinite(segment).all() and len(segment)]
    assert len(drawn) == 1
    np.testing.assert_array_equal(drawn[0][:, 0], [1.0, 1.0])


def test_the_matrix_of_augmentations_is_symmetric(run_of):
    cells = {("crop", "crop"): 0.5, ("color", "color"): 0.4, ("crop", "color"): 0.7, ("blur", "blur"): None}
    rows = [{"first": a, "second": b, "seed": seed, "accuracy": value and value + 0.01 * (seed - 2)}
            for (a, b), value in cells.items() for seed in SEEDS]  # fmt: skip
    ax = curves.draw_composition(run_of(composition=rows)).axes[0]
    written = {tuple(int(x) for x in text.get_position()): text.get_text() for text in ax.texts}
    assert len(written) == 9
    assert written[0, 1] == written[1, 0] == "70.0%"
    assert (written[0, 0], written[1, 1], written[2, 2], written[0, 2]) == ("50.0%", "40.0%", "none", "none")


def test_histograms_have_a_panel_a_curve_and_a_ridge_an_epoch(run_of):
    edges = np.linspace(-1.0, 1.0, 11)
    rows = [{"curve": f"momentum {momentum:g}", "epoch": epoch, "from": low, "to": high,
             "positive": 10 * (low > 0.5), "negative": 0 if epoch == 9 else 100 * (low < 0)}
            for momentum in (0, 0.5, 0.9) for epoch in (1, 4, 9) for low, high in pairwise(edges)]  # fmt: skip
    figure = scores.draw_histograms(run_of(histograms=rows))
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == ["momentum 0", "momentum 0.5", "momentum 0.9"]
    assert [text.get_text() for text in shown[0].get_yticklabels()] == ["epoch 1", "epoch 4", "epoch 9"]
    assert len(shown[0].patches) == 2 * 2 * 3
    assert legend_texts(figure) == ["negative pairs", "positive pairs"]
    first = [patch.get_data() for patch in shown[0].patches[:4]]
    # Half of the negatives' range has the same mass as the positives' quarter, so these are the peak.
    assert min(first[2].values) == pytest.approx(-0.85)
    assert min(first[0].values) > -0.85


def test_moments_skip_epochs_without_measurement(run_of):
    rows = [{"curve": curve, "seed": seed, "epoch": epoch, "gradient_norm": 10.0 ** (epoch % 3), "accuracy": 0.7,
             **{f"{kind}_{moment}": (0.1 * seed if epoch % 5 == 0 else None)
                for kind in ("positive", "negative") for moment in ("mean", "variance")}}
            for curve in ("momentum 0", "momentum 0.9") for seed in SEEDS for epoch in range(1, 11)]  # fmt: skip
    figure = scores.draw_moments(run_of(moments=rows))
    axes = {ax.get_title(): ax for ax in figure.axes}
    line = axes["positive scores: mean"].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [5, 10])
    np.testing.assert_allclose(line.get_ydata(), 0.2)
    assert len(axes["norm of the gradient"].lines[0].get_xdata()) == 10
    assert axes["norm of the gradient"].get_yscale() == "log"
    assert legend_texts(figure) == ["momentum 0", "momentum 0.9"]
    assert len(axes["accuracy after training"].lines[0].get_ydata()) == len(SEEDS)


def test_blocks_have_a_line_a_curve_and_a_panel_a_measure(run_of):
    rows = [{"curve": curve, "seed": seed, "block": block, "value": block + 0.1 * seed, "measure": measure}
            for curve in ("labels", "view pairs") for measure in ("affinity sharpness", "mass")
            for seed in SEEDS for block in range(4)]  # fmt: skip
    figure = curves.draw_blocks(run_of(blocks=rows))
    assert [ax.get_ylabel() for ax in figure.axes] == ["affinity sharpness", "mass"]
    assert [len(ax.containers) for ax in figure.axes] == [2, 2]
    main, _, (bars,) = figure.axes[0].containers[0].lines
    np.testing.assert_allclose(main.get_ydata(orig=False), np.arange(4) + 0.2)
    half = half_width([0.1 * seed for seed in SEEDS])
    np.testing.assert_allclose(np.ptp(bars.get_segments()[2], axis=0), [0.0, 2 * half])


@pytest.mark.parametrize("missing", ["empty", "no row"])
def test_a_mean_of_some_seeds_has_no_interval(run_of, missing):
    """Under "mean over 5 seeds", a block that 4 of them have: as a row that is empty, or as none."""
    rows = [{"measure": "mass", "curve": "labels", "seed": seed, "block": block, "value": 0.1 * seed + block}
            for block in range(3) for seed in SEEDS if missing == "empty" or (seed, block) != (4, 2)]  # fmt: skip
    if missing == "empty":
        rows[-1]["value"] = None
    figure = curves.draw_blocks(run_of(blocks=rows))
    (drawn,) = bars(figure.axes[0])
    np.testing.assert_allclose(drawn.y, [0.2, 1.2, 2.15])
    assert np.isnan(drawn.low).tolist() == [False, False, True]


def test_an_interval_takes_two_values_and_none_missing():
    assert style.half_width(pd.Series([0.5, 0.6, 0.7])) == pytest.approx(half_width([0.5, 0.6, 0.7]), rel=1e-12)
    assert np.isnan(style.half_width(pd.Series([0.5])))
    assert np.isnan(style.half_width(pd.Series([0.5, 0.6, np.nan])))


def test_the_catalogue_draws_a_claim_without_torch(run_of):
    run = run_of(
        contrasts=[contrast()],
        points=[point(size, seed, 0.5) for size in (1, 2) for seed in SEEDS],
        blocks=[{"curve": "", "seed": 0, "block": 0, "value": 1.0, "measure": "m"}],
    )
    program = (
        "import sys; from figures.__main__ import main; "
        f"status = main([{str(run.path)!r}]); assert 'torch' not in sys.modules; sys.exit(status)"
    )
    # What libraries say of each other is none of ours.
    warned = ("-W", "error::UserWarning", "-W", "ignore::DeprecationWarning")
    result = subprocess.run([sys.executable, *warned, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for kind in ("png", "pdf"):
        assert {path.stem for path in run.path.glob(f"*.{kind}")} == {"claim_contrasts", "claim_curves", "claim_blocks"}
