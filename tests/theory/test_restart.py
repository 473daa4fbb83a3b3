"""Theorem 2a': the certificate that restarts at any layer."""

import numpy as np
import pytest
import torch

from models.stack import AttentionStack
from tests.strategies import labels_of
from theory.batches.trajectory import Trajectory
from theory.judging.statements import WITHIN_PRODUCT
from theory.judging.verdicts import Status
from theory.restart import (
    TokenGeometry,
    certified_from_layer,
    check_restart,
    cross_slack,
    measure_tokens,
    restarts,
)

pytestmark = pytest.mark.theorems


def layers_of(points, labels, tau, mixing, depth):
    """A stack in plain NumPy: tokens (depth + 1, trials, n, D), and where a layer is not recovered with complete
    clusters (depth + 1, trials)."""
    same, tokens, broken = labels[:, None] == labels, [points], []
    for layer in range(depth + 1):
        unit = tokens[-1] / np.linalg.norm(tokens[-1], axis=-1, keepdims=True)
        affinity = np.maximum(unit @ np.swapaxes(unit, -1, -2) - tau, 0.0) * ~np.eye(len(labels), dtype=bool)
        missing = (affinity == 0.0) & same & ~np.eye(len(labels), dtype=bool)
        broken.append((((affinity > 0.0) & ~same) | missing).any(axis=(-2, -1)))
        mass = affinity.sum(axis=-1, keepdims=True)
        mean = (affinity @ tokens[-1]) / np.where(mass > 0.0, mass, 1.0)
        tokens += [np.where(mass > 0.0, (1.0 - mixing) * tokens[-1] + mixing * mean, tokens[-1])] * (layer < depth)
    return np.stack(tokens), np.stack(broken)


def batches(rng, trials=200):
    """Clusters of unequal sizes and norms about axes that share a direction."""
    sizes = rng.integers(2, 8, rng.integers(2, 5))
    labels, dim = labels_of(sizes), int(rng.integers(len(sizes) + 1, 20))
    points = np.eye(dim)[labels] + rng.random((trials, 1, 1)) * rng.standard_normal((trials, len(labels), dim)) * 0.3
    points = points + 0.5 * rng.random((trials, 1, 1)) * rng.standard_normal((trials, 1, dim)) / np.sqrt(dim)
    return points * np.exp(0.2 * rng.standard_normal((trials, len(labels), 1))), labels, sizes


def test_the_certificate_is_never_contradicted():
    """Thresholds a hair inside each condition, where it is tightest."""
    rng, used = np.random.default_rng(1), dict.fromkeys(("cosines", "axes", "products"), 0)
    for _ in range(24):
        points, labels, sizes = batches(rng)
        geometry = measure_tokens(points[None], labels)
        for name, (cap, kept) in cross_slack(geometry, sizes).items():
            tau = np.where(cap[0] < kept[0], np.minimum(cap[0], 0.998) + 1e-9, 0.999)
            held = restarts(geometry, sizes, tau)[0] & (cap[0] < kept[0])
            used[name] += int(held.sum())
            mixing = rng.choice([0.1, 0.5, 1.0])
            _, broken = layers_of(points[held], labels, tau[held, None, None], mixing, 5)
            assert not broken.any(), name
    assert min(used.values()) > 300, used


def test_every_condition_alone_certifies_something():
    """Axes beat the cosines on most batches; products where the long tokens are the spread ones."""
    points, labels, sizes = batches(np.random.default_rng(2))
    (low, _), (axes, kept) = (cross_slack(measure_tokens(points[None], labels), sizes)[k] for k in ("cosines", "axes"))
    assert ((axes < kept) & (kept < low)).any()
    axis = np.eye(5)
    clusters = [
        [
            np.sqrt(0.6) * axis[k] + np.sqrt(0.4) * axis[4],
            *(np.sqrt(1.5) * axis[k] + s * np.sqrt(0.5) * axis[k + 2] for s in (1, -1)),
        ]
        for k in (0, 1)
    ]
    points, labels = np.concatenate(clusters), labels_of((3, 3))
    held = {
        name: (cap < 0.45 < kept).item()
        for name, (cap, kept) in cross_slack(measure_tokens(points[None, None], labels), 3).items()
    }
    assert held == {"cosines": False, "axes": False, "products": True}
    assert not layers_of(points[None], labels, 0.45, 0.5, 6)[1].any()


def test_killed_smallest_within_product():
    """I_w above N-: the killed condition holds, and the two short tokens share a false edge at once."""
    tilt, cosine, tau = np.radians(3.5), 0.52, 0.5
    angle = np.arccos(cosine)

    def at(theta, norm):
        return norm * np.array([np.cos(theta), np.sin(theta)])

    points = np.stack([at(0.0, 1.0), at(-tilt, 1.1), at(angle, 1.0), at(angle + tilt, 1.1)])
    labels = np.array([0, 0, 1, 1])
    g = measure_tokens(points[None, None], labels)
    within, cross, low, high = (x[0, 0] for x in (g.within_product, g.cross_product, g.norm_min, g.norm_max))
    assert within > low, WITHIN_PRODUCT.claim
    assert tau * high < within
    assert max(cross, 0.0) <= tau * (within + (low - within) / 2)
    assert layers_of(points[None], labels, tau, 0.5, 0)[1].all()
    assert not restarts(g, 2, tau).any()


def test_killed_axes_of_the_two_largest_clusters():
    """Two tight clusters of three have axes of 1; the two of two that leak into each other have shorter ones."""
    tau, cross = 0.45, 0.4
    gram = np.eye(10)
    gram[:4, :4] = cross
    gram[:2, :2] = gram[2:4, 2:4] = 0.5
    gram[4:7, 4:7] = gram[7:, 7:] = 1.0
    np.fill_diagonal(gram, 1.0)
    values, vectors = np.linalg.eigh(gram)
    assert values.min() > -1e-12
    points, labels = vectors * np.sqrt(np.maximum(values, 0.0)), np.array([0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    g = measure_tokens(points[None, None], labels)
    assert g.alpha.item() == pytest.approx(0.5)
    assert g.alpha.item() > tau
    assert g.beta.item() == pytest.approx(cross)
    assert cross <= tau * 1.0 * 1.0, "the killed condition, by the axes of the largest clusters"
    assert not layers_of(points[None], labels, tau, 0.5, 0)[1].any(), "the batch is recovered at this layer"
    assert layers_of(points[None], labels, tau, 0.5, 1)[1][1].all(), "and has a false edge at the next"
    assert not restarts(g, (2, 2, 3, 3), tau).any()


def test_geometry_against_loops():
    rng = np.random.default_rng(3)
    labels = np.array([1, 0, 1, 2, 0, 2, 2])
    points = rng.standard_normal((2, 3, 7, 5))
    found = measure_tokens(points, labels)
    for layer, trial in np.ndindex(2, 3):
        y = points[layer, trial]
        pairs = [(i, j) for i in range(7) for j in range(i)]
        same = [y[i] @ y[j] for i, j in pairs if labels[i] == labels[j]]
        other = [y[i] @ y[j] for i, j in pairs if labels[i] != labels[j]]
        cosines = [y[i] @ y[j] / np.linalg.norm(y[i]) / np.linalg.norm(y[j]) for i, j in pairs]
        heights = []
        for k in range(3):
            unit = [v / np.linalg.norm(v) for v in y[labels == k]]
            axis = np.mean(unit, axis=0)
            heights.append(max(min(v @ axis for v in unit) / np.linalg.norm(axis), 0.0))
        heights.sort()
        expected = (
            min(c for c, (i, j) in zip(cosines, pairs) if labels[i] == labels[j]),
            max(c for c, (i, j) in zip(cosines, pairs) if labels[i] != labels[j]),
            heights[0] * heights[1], min(same), max(other), min(v @ v for v in y), max(v @ v for v in y),
        )  # fmt: skip
        got = [getattr(found, name)[layer, trial] for name in TokenGeometry.__dataclass_fields__]
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def past_separation(trials=40):
    """Tight clusters at 1.3 times the separation ceiling (D = 64, K = 4, m = 32: .716), at Theorem 2f's threshold."""
    rng, labels = np.random.default_rng(4), labels_of((32,) * 4)
    noise = rng.standard_normal((trials, 128, 64)) * 0.93 / 8.0
    return np.eye(64)[labels] + noise, labels, 0.457


def test_most_batches_are_certified_from_layer_1_past_the_separation_ceiling():
    points, labels, tau = past_separation()
    tokens, broken = layers_of(points, labels, tau, 0.8, 3)
    geometry = measure_tokens(tokens, labels)
    first = certified_from_layer(geometry, 32, tau)
    assert (geometry.alpha[0] < geometry.beta[0]).all(), "no batch is separated"
    assert (first == 1).mean() >= 0.95
    assert not any(broken[layer:, trial].any() for trial, layer in enumerate(first) if layer >= 0)


def test_verdicts():
    points, labels, tau = past_separation(8)
    stack = AttentionStack(3, tau, 0.8)
    trajectory = stack.measure(torch.from_numpy(points), labels)
    geometry = measure_tokens(layers_of(points, labels, tau, 0.8, 3)[0], labels)
    assert check_restart(trajectory, 32, tau, geometry).status is Status.HOLDS
    nothing = check_restart(trajectory, 32, 1e-3, geometry)
    assert nothing.status is Status.NOT_APPLICABLE
    for name, value in (("false_edges", 1), ("fragments", 2), ("alpha", 0.0)):
        planted = {f: np.array(getattr(trajectory, f)) for f in Trajectory.__dataclass_fields__}
        planted[name][2, 3] = value
        assert check_restart(Trajectory(**planted), 32, tau, geometry).status is Status.VIOLATED, name
    # What is broken before the certified layer is no violation: the theorem asks nothing of it.
    early = {f: np.array(getattr(trajectory, f)) for f in Trajectory.__dataclass_fields__}
    early["false_edges"][0] = 5
    assert check_restart(Trajectory(**early), 32, tau, geometry).status is Status.HOLDS
    with pytest.raises(ValueError, match=r"^geometry: expected \(layers, trials\) \(4, 8\)"):
        check_restart(trajectory, 32, tau, measure_tokens(points[None], labels))


def test_bad_input():
    geometry = measure_tokens(np.eye(4)[None, None], np.array([0, 0, 1, 1]))
    assert certified_from_layer(geometry, 2, 0.5).tolist() == [-1]
    with pytest.raises(ValueError, match=r"^threshold: must lie in \[0, 1\)"):
        restarts(geometry, 2, 1.0)
    with pytest.raises(ValueError, match=r"^cluster_sizes: every cluster needs"):
        restarts(geometry, 1, 0.5)
    with pytest.raises(ValueError, match=r"^points: contains a zero vector"):
        measure_tokens(np.zeros((1, 1, 4, 4)), np.array([0, 0, 1, 1]))
