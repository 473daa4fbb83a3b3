"""What is counted at the proved numbers and beside them, against plain code."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from synthetic.slack import depth, fusion, soft
from synthetic.slack.options import TightnessOptions, grid_points
from tests.theory.test_restart import layers_of
from theory.batch_floor import gaussian_connection
from theory.depth_threshold import depth_threshold
from theory.fusion_ceiling import fusion_threshold
from theory.measurements import is_connected, pair_extremes

DEPTH = TightnessOptions("depth", (48,), (3,), (3,), subspace_dims=(2,), angles_deg=(90.0, 60.0), noise_levels=(2.0,),
                         depths=(2,), trials=60)  # fmt: skip
FUSION = TightnessOptions("fusion", (32,), (2,), (10,), within_cos=(1.0, 0.9), mixings=(1.0,), depths=(3,), trials=60)
SOFT = TightnessOptions("soft", (16,), (2,), subspace_dims=(2,), noise_levels=(0.2,), affinities=("signed", "squared"),
                        trials=60)  # fmt: skip


def recovered_of(tokens, labels, tau):
    """Layers without a false edge and with every cluster in one piece, (layers, trials)."""
    same = labels[:, None] == labels
    unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
    edges = unit @ np.swapaxes(unit, -1, -2) > tau
    whole = [is_connected(edges[..., rows, :][..., rows]) for rows in (labels == k for k in np.unique(labels))]
    return np.all(whole, axis=0) & ~(edges & ~same).any(axis=(-2, -1))


def cells(room, options):
    return [room.cell_of(i, point, options) for i, point in enumerate(grid_points(options))]


def test_false_edges_of_every_layer_count():
    """Thresholds below 2e's, at which layers after the first have false edges of their own."""
    orthogonal, oblique = cells(depth, DEPTH)
    assert orthogonal.threshold == depth_threshold(48, 2, 27, 2, 0.05)
    assert oblique.threshold == pytest.approx(depth_threshold(48, 2, 27, 2, 0.05, 0.5), rel=1e-9)
    for cell in (orthogonal, oblique):
        points = np.concatenate(list(cell.batches()))
        assert np.ptp(np.linalg.norm(points, axis=-1)) > 0.1, "noisy points stay as long as they are"
        _, beta = pair_extremes(points, cell.labels)
        taus = np.quantile(beta, [0.3, 0.6, 0.9])
        found = depth.without_false_edge(cell, taus, 60)
        for tau, count in zip(taus, found):
            tokens, _ = layers_of(points, cell.labels, tau, cell.mixing, cell.depth)
            clean = np.array([pair_extremes(layer, cell.labels)[1] <= tau for layer in tokens])
            assert count == clean.all(axis=0).sum()
            assert count <= clean[0].sum()
    later = 0
    for tau in np.linspace(0.3, 0.6, 7):
        tokens, _ = layers_of(points, cell.labels, tau, cell.mixing, cell.depth)
        clean = np.array([pair_extremes(layer, cell.labels)[1] <= tau for layer in tokens])
        later += int((clean[0] & ~clean.all(axis=0)).sum())
        assert depth.without_false_edge(cell, [tau], 60)[0] == clean.all(axis=0).sum()
    assert later > 0, "some batch has its first false edge at a later layer"


def test_recovery_at_later_layers_and_the_promised_event():
    forgiven, mended = 0, 0
    for (cell, within), level in product(zip(cells(fusion, FUSION), (1.0, 0.9)), (1.0, 1.1)):
        noisy = fusion.at_noise(cell, level, 0.05)
        assert noisy.threshold == fusion_threshold(32, 2, 10, 0.05, level)
        points = np.concatenate(list(noisy.batches()))
        # Common random numbers: the same clean points and the same noise, scaled.
        half = np.concatenate(list(fusion.at_noise(cell, 0.5 * level, 0.05).batches()))
        clean = 2.0 * half - points
        np.testing.assert_allclose(np.linalg.norm(clean, axis=-1), 1.0, rtol=1e-12)
        assert pair_extremes(clean, cell.labels)[0].min() == pytest.approx(within)
        tokens, _ = layers_of(points, cell.labels, noisy.threshold, 1.0, 3)
        held = recovered_of(tokens, cell.labels, noisy.threshold)
        layers = fusion.layers_of(noisy, 60)
        np.testing.assert_array_equal(fusion.recovered_later(layers), held[1:].all(axis=0))
        false = pair_extremes(tokens[0], cell.labels)[1] > noisy.threshold
        np.testing.assert_array_equal(fusion.promised(layers), held[1:].all(axis=0) & ~false)
        assert 0 < fusion.promised(layers).sum() < 60
        assert held[0].sum() < held[1:].all(axis=0).sum() <= held[-1].sum()
        mended += int((held[-1] & ~held[1:].all(axis=0)).sum())
        forgiven += int((held[1:].all(axis=0) & false).sum())
    assert mended > 0, "some batch fails at layer 1 and is recovered at the last"
    assert forgiven > 0, "a false edge at layer 0 is no failure of the later layers"


@pytest.mark.parametrize("index", [0, 1])
def test_one_block_at_each_size_s_own_threshold(index):
    point = grid_points(SOFT)[index]
    squared = index == 1
    for size in (5, 9):
        found = soft.one_block_at(index, point, size, 60, SOFT)
        tau = gaussian_connection(16, 2, size, np.pi / 2, 0.2, 0.05, squared).threshold
        cell = soft.model_of(point).cell(index, size, 0.2, tau, 60, SOFT.seed)
        recovered = 0
        for batch in np.concatenate(list(cell.batches())):
            cosines = np.abs(batch @ batch.T) if squared else batch @ batch.T
            edges = cosines > tau
            whole = [is_connected(edges[rows, rows]) for rows in (slice(0, size), slice(size, None))]
            recovered += bool(all(whole) and not edges[:size, size:].any())
        assert found.recovered == recovered
        assert 0 < recovered < 60


def test_rows_of_each_kind():
    """Few batches: ratios on the right side of 1, and no number where nothing is proved."""
    few = {"trials": 200}
    row = depth.measure(0, grid_points(DEPTH)[0], replace(DEPTH, **few))
    assert row["number"] == depth_threshold(48, 2, 27, 2, 0.05)
    assert 0.6 < row["ratio"] < 1.0
    assert row["ratio_low"] < row["ratio"] < row["ratio_high"]
    row = soft.measure(0, grid_points(SOFT)[0], replace(SOFT, trials=400))
    assert 1.0 < row["ratio"] < 2.5
    assert row["failure_rate"] < 0.12
    row = depth.measure(0, {**grid_points(DEPTH)[0], "ambient_dims": 6}, replace(DEPTH, delta=1e-9))
    assert (row["number"], row["trials"]) == (0.0, 0)


def test_where_no_ceiling_is_proved_the_share_certified_is_still_told(monkeypatch):
    monkeypatch.setattr(fusion, "gaussian_fusion", lambda *law, **rest: 0.0)
    row = fusion.measure(0, grid_points(FUSION)[0], FUSION)
    assert (row["number"], row["trials"], row["gain"]) == (0.0, 0, 0.0)
    assert 0.5 < row["certified_at_1.3"] <= 1.0
