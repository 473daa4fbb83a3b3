"""Hypothesis strategies: batches with labels, and what a stack is told about them. Tested in test_strategies.py."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

# Coordinates on a grid, so that examples shrink to readable numbers and no product under- or overflows.
COORDINATES = st.integers(-64, 64).map(lambda k: k / 64.0)
MIXINGS = st.one_of(st.sampled_from([0.5, 1.0, 0.25]), st.floats(0.01, 1.0))


def labels_of(sizes):
    """0 0 .. 1 1 .. K-1."""
    return np.repeat(np.arange(len(sizes)), sizes)


@st.composite
def cluster_sizes(draw, max_clusters=4, max_size=6):
    return tuple(draw(st.lists(st.integers(2, max_size), min_size=2, max_size=max_clusters)))


@st.composite
def any_batch(draw):
    """Points without zero vectors, in any position; labels in any order."""
    sizes = draw(cluster_sizes())
    labels = np.array(draw(st.permutations(list(labels_of(sizes)))))
    dim = draw(st.integers(2, 6))
    points = draw(hnp.arrays(np.float64, (len(labels), dim), elements=COORDINATES))
    points[~points.any(axis=1), 0] = 1.0
    return points, labels


@st.composite
def clustered_batch(draw):
    """Points around centers that may share a direction, tight enough that Theorem 2a often applies.

    Returns (points of any norm, labels, sizes).
    """
    sizes = draw(cluster_sizes())
    labels = labels_of(sizes)
    dim = len(sizes) + draw(st.integers(1, 3))
    shared = draw(st.floats(0.0, 1.0))
    tightness = draw(st.floats(0.0, 0.35))
    offsets = draw(hnp.arrays(np.float64, (len(labels), dim), elements=COORDINATES))
    norms = draw(hnp.arrays(np.float64, len(labels), elements=st.sampled_from([0.5, 1.0, 3.0])))
    centers = np.eye(dim)[: len(sizes)] + shared * np.eye(dim)[-1]
    return norms[:, None] * (centers[labels] + tightness * offsets), labels, sizes


@st.composite
def separate_subspaces(draw):
    """Clusters in independent, oblique subspaces: (points, labels, sizes, bases (K, D, 2))."""
    sizes = draw(cluster_sizes(max_clusters=3))
    labels = labels_of(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    count = len(sizes)
    bases = np.linalg.qr(rng.standard_normal((count, 2 * count + draw(st.integers(0, 2)), 2)))[0]
    angles = draw(hnp.arrays(np.float64, len(labels), elements=st.floats(0.0, draw(st.floats(0.05, 3.0)))))
    coordinates = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.einsum("ndr,nr->nd", bases[labels], coordinates), labels, sizes, bases
