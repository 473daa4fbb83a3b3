"""What is read without a look in between is what ``measure_layer`` measures."""

import numpy as np
import pytest
import torch

from theory.affinity import cosine_gram
from theory.batches.clusters import cluster_layout
from theory.batches.trajectory import Trajectory, layer_extremes, measure_layer
from theory.batches.waitless_layers import NAMES, read_extremes, read_layer, trajectory_of

SIZES = (5, 2, 9)


def layer(noise, seed, cut):
    """Cosines and affinities of clusters in mixed order; more noise cuts clusters apart and joins others."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([7, -1, 30], SIZES))
    centers = rng.standard_normal((40, 12))[labels]
    cosines = cosine_gram(centers + noise * rng.standard_normal((6, len(labels), 12)))
    raw = np.clip(cosines - cut, 0.0, None)
    raw[..., np.arange(len(labels)), np.arange(len(labels))] = 0.0
    return cosines, raw, cluster_layout(labels)


def both(cosines, raw, layout, cut):
    mass = raw.sum(-1)
    extremes = layer_extremes(cosines, layout)
    expected = Trajectory.stack_layers([measure_layer(extremes, raw, mass, layout, cut)] * 2)
    for make in (lambda array: array, torch.from_numpy):
        level = make(cut) if isinstance(cut, np.ndarray) else cut
        read = read_layer(read_extremes(make(cosines), layout), make(raw), make(mass), layout, level)
        yield trajectory_of([read, read]), expected


@pytest.mark.parametrize("noise", [0.05, 0.6, 2.0])
@pytest.mark.parametrize("cut", [0.0, 0.3, np.linspace(0.0, 0.9, 6)[:, None, None]], ids=["0", "0.3", "by trial"])
def test_every_field_is_that_of_the_careful_way(noise, cut):
    fragments = []
    for seed in range(3):
        for found, expected in both(*layer(noise, seed, cut), cut):
            for name in NAMES:
                values = getattr(found, name)
                assert values.dtype == getattr(expected, name).dtype
                np.testing.assert_allclose(values, getattr(expected, name), rtol=1e-12, atol=1e-12)
            fragments.append(found.fragments)
    if noise == 2.0:
        assert np.max(fragments) > 1, "some cluster is in pieces"


def test_mass_that_leaks_below_the_cut_is_counted():
    cosines, raw, layout = layer(0.05, 0, 0.9)
    first, last = (int(np.asarray(layout.order)[place]) for place in (0, -1))
    for leak, edges in ((1e-3, 1), (1e-14, 0)):
        planted = raw.copy()
        planted[2, first, last] += leak * raw[2, first].sum()
        for found, expected in both(cosines, planted, layout, 0.9):
            assert found.false_edges[0, 2] == expected.false_edges[0, 2] == edges


@pytest.mark.parametrize("size", [2, 3, 8, 9, 17])
def test_chains_are_walked_to_their_end(size):
    """The longest paths that there are, whole and with a link missing, either way round."""
    layout, places = cluster_layout(np.repeat([0, 1], size)), np.arange(size - 1)
    cosines = np.full((3, 2 * size, 2 * size), -0.5)
    raw = np.zeros_like(cosines)
    raw[:, places, places + 1] = raw[:, size + places + 1, size + places] = 1.0
    raw[1, 0, 1] = 0.0
    raw[2] = 0.0
    for found, expected in both(cosines, raw, layout, 0.0):
        np.testing.assert_array_equal(found.fragments, expected.fragments)
        assert found.fragments[0].tolist() == [1, 2, size]


def test_what_is_not_finite_is_refused():
    cosines, raw, layout = layer(0.05, 0, 0.0)
    read = read_layer(read_extremes(cosines, layout), raw * np.nan, raw.sum(-1), layout, 0.0)
    with pytest.raises(ValueError, match="contains NaN or infinity"):
        trajectory_of([read])
