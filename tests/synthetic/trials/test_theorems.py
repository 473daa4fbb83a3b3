"""The adversary's bounds, written a second time in torch, are those of theory/; draws are what they say."""

import numpy as np
import pytest
import torch

from models.stack import AttentionStack
from synthetic.batches.seeding import generator
from synthetic.trials import graphs, layers
from synthetic.trials.ascent import Violation
from synthetic.trials.theorems import (
    loss_certificate,
    theorem_1,
    theorem_2a,
    theorem_2b,
    theorem_2c,
    theorem_2e,
    theorem_2f,
    theorem_2g,
    theorem_3,
)
from synthetic.trials.trial import Cases, Rate, Trial
from tests.strategies import labels_of
from theory.batch_floor import bounded_connection
from theory.batches.clusters import cluster_layout
from theory.judging.statements import THEOREM_1
from theory.judging.verdicts import Status
from theory.loss_certificate import certified_sharpness
from theory.measurements import pair_extremes
from theory.noise_ceiling import bounded_separation
from theory.noise_free import spread_bound
from theory.persistence import cross_cap
from theory.restart import certified_from_layer

SIZES = (5, 3, 2)


@pytest.fixture
def parameters():
    return layers.start_clusters(torch.Generator().manual_seed(3), 12, SIZES)


def test_extremes_are_those_of_the_measurements(parameters):
    points = parameters["points"]
    alpha, beta = pair_extremes(points.numpy(), labels_of(SIZES))
    mine = layers.extremes(layers.cosines_of(points), SIZES)
    np.testing.assert_allclose(np.stack(mine), np.stack([alpha, beta]), atol=1e-12)
    cosines = layers.cosines_of(points)[:, labels_of(SIZES)[:, None] != labels_of(SIZES)]
    np.testing.assert_allclose(layers.smallest_cross(layers.cosines_of(points), SIZES), cosines.amin(-1), atol=1e-12)


def test_layers_are_those_of_the_stack(parameters):
    batch = theorem_2a.persistent(parameters, SIZES)
    alpha, beta = layers.extremes(batch.cosines_of_layers(), SIZES)
    for trial in range(3):
        values = batch.values(SIZES) if trial == 0 else None
        stack = AttentionStack(
            layers.DEPTH, float(batch.threshold[trial]), float(batch.mixing[trial]), normalize="input"
        )
        measured = stack.measure(batch.points[trial : trial + 1].detach(), labels_of(SIZES))
        np.testing.assert_allclose(alpha[:, trial], measured.alpha[:, 0], atol=1e-9)
        np.testing.assert_allclose(beta[:, trial], measured.beta[:, 0], atol=1e-9)
        if values is not None:
            assert values["threshold"] == float(batch.threshold[0])
            assert values["depth"] == layers.DEPTH


def test_the_spread_s_bound_is_theorem_1_s():
    """Constant alpha: rho is the same at every layer, so that the bound is theory's in closed form."""
    alpha = torch.full((4, 1), 0.8, dtype=torch.float64)
    threshold, mixing = torch.tensor([0.2], dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64)
    excess = theorem_1.spread_excess(alpha, threshold, mixing, 5)
    bounds = [spread_bound(0.8, 5, layer, 0.2, 0.3) for layer in (1, 2, 3)]
    # spread_bound follows alpha's own guaranteed rise; at the first layer both are one step.
    assert float(theorem_1.spread_excess(alpha[:2], threshold, mixing, 5)) == pytest.approx(np.log(0.2 / bounds[0]))
    assert float(excess) >= np.log(0.2 / bounds[0])


def test_the_cap_is_theorem_2a_s():
    alpha, beta = np.array([0.9, 0.5]), np.array([0.3, 0.1])
    mine = theorem_2a._cap(torch.from_numpy(alpha), torch.from_numpy(beta), SIZES)
    np.testing.assert_allclose(mine, cross_cap(alpha, beta, SIZES), rtol=1e-12)


def test_clusters_fill_their_subspaces():
    """Without noise a cluster spans exactly its own dimensions; orthogonal subspaces have cosine 0."""
    cases = graphs.filled_subspaces(generator(1, 1), 3, 16, (9, 5), np.pi / 2, 0.0, ("gaussian",), 0.25)
    points = np.asarray(cases["points"])
    assert points.shape == (graphs.FEW_BATCHES, 14, 16)
    assert cases["threshold"] == 0.25
    assert all((np.linalg.svd(points[:, rows], compute_uv=False) > 1e-9).sum(-1).tolist() == [3] * graphs.FEW_BATCHES
               for rows in (slice(0, 9), slice(9, 14)))  # fmt: skip
    np.testing.assert_allclose(points[:, :9] @ np.swapaxes(points[:, 9:], -1, -2), 0.0, atol=1e-12)


def test_bounded_noise_is_drawn_around_its_ceiling():
    shares = []
    for i in range(30):
        cases = theorem_2b.draw_bounded(generator(1, i))
        ceiling = bounded_separation(*map(float, cases["clean_angles"]))
        shares.append(cases["noise_level"] / ceiling if ceiling else np.nan)
    assert np.nanmin(shares) < 0.95 < np.nanmax(shares)
    assert np.nanmedian(shares) <= 1.0, "most batches are inside the hypotheses"


@pytest.mark.parametrize("squared", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_clusters_stand_at_their_floor(squared):
    """Noise-free circles and spheres among them: the floor of the threshold that was drawn."""
    draw, found = theorem_2c._draw(squared), 0
    for i in range(8):
        cases = draw(generator(2, i))
        sizes = cluster_layout(cases["labels"]).sizes
        assert len(set(sizes)) == 1
        assert sizes[0] <= theorem_2c.LARGEST_CLUSTER
        found += sizes[0] > 5
        assert 0.0 < cases["threshold"] < 1.0
    assert found
    assert bounded_connection(np.pi / 2, 0.0, 2, graphs.DELTA).threshold == pytest.approx(1e-9, abs=1e-12)


def test_any_noise_is_drawn_at_the_threshold_that_withstands_it():
    tight, loud = 0, 0
    for i in range(20):
        cases = theorem_2e.draw(generator(6, i))
        assert cases["threshold"].max() == cases["threshold"].min() == cases["needed"] < 1.0
        norms = np.linalg.norm(np.asarray(cases["points"]), axis=-1)
        tight, loud = tight + (norms.max() < 1.001), loud + (norms.mean() > 2.0)
    assert tight > 3, "normalized or without noise"
    assert loud > 1, "noise of more than the points' own norm"


@pytest.mark.parametrize("squared", [False, True])
def test_noisy_clusters_stand_at_their_soft_floor(squared):
    cases = theorem_2g._draw(squared)(generator(3, 1))
    sizes, dim = cluster_layout(cases["labels"]).sizes, np.asarray(cases["points"]).shape[-1]
    assert min(sizes) <= theorem_2g.LARGEST_CLUSTER
    assert 0.0 < cases["threshold"] < 1.0
    # Noise, but not too much: no two points of one batch are equal, and clusters span few dimensions.
    spectrum = np.linalg.svd(np.asarray(cases["points"])[0], compute_uv=False)
    assert (spectrum > 1e-6).sum() == min(sum(sizes), dim)


def test_batches_at_the_fusion_ceiling_are_tight_or_in_cones():
    cases = theorem_2f.draw_at_ceiling(generator(4, 0))
    assert not cases["unit_inputs"], "the statement is about noisy points as they are"
    assert np.ptp(np.linalg.norm(np.asarray(cases["points"]), axis=-1)) > 0.1
    assert len(set(cases["threshold"])) == len(set(cases["mixing"])) == 1
    assert 0.0 < cases["threshold"][0] < 1.0


def test_restarts_are_asked_of_batches_that_no_layer_certifies_too(as_users_call):
    """Of 500 batches some are outside the hypotheses, and some of those inside are certified behind the first layer."""
    cases = theorem_2f.draw_any(generator(0, 3))
    layers, geometry = theorem_2f.measure_both(cases, AttentionStack)
    first = certified_from_layer(geometry, cluster_layout(cases["labels"]).sizes, theorem_2f.cut_of(cases))
    assert {-1, 0} < set(first)
    assert layers.alpha.shape == geometry.alpha.shape == (int(cases["depth"]) + 1, 500)
    np.testing.assert_allclose(geometry.alpha, layers.alpha, atol=1e-12)


def test_the_adversary_s_divergence_is_the_certificate_s():
    sharpness = torch.linspace(0.01, 0.99, 7, dtype=torch.float64)
    np.testing.assert_allclose(certified_sharpness(loss_certificate._binary(sharpness).numpy()), sharpness, atol=1e-9)


def test_the_adversary_s_mass_counts_the_own_cluster():
    """Two clusters of equal points at right angles: e^kappa against 1."""
    points = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 0, 0, 1, 1])][None]
    kappa = torch.tensor([1.5], dtype=torch.float64)
    mass = theorem_3._softmax_mass(layers.cosines_of(points), kappa, (3, 2))
    own, e = np.array([3, 3, 3, 2, 2]), np.exp(1.5)
    np.testing.assert_allclose(mass[0], own * e / (own * e + 5 - own), atol=1e-14)


def test_a_trial_says_what_it_lacks():
    def judge(cases, measured):
        raise NotImplementedError

    whole = {"statement": THEOREM_1, "key": "mine", "each": ("points",), "shared": ("labels",),
             "measure": lambda cases, subject: None}  # fmt: skip
    for changes, told in (({"key": "Not a word"}, "key"), ({}, "judge"), ({"shared": ("depth",)}, "labels"),
                          ({"rate": Rate(0.05, judge)}, "judge")):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            Trial(**{**whole, "judge": None if not changes else judge, **changes})
    trial = Trial(**whole, rate=Rate(0.05, lambda cases, measured: np.array([False, True, True])))
    verdict = trial.check(Cases({"points": np.zeros((3, 2, 2))}, {"labels": np.array([0, 1])}))
    assert (verdict.status, verdict.where, verdict.cases) == (Status.VIOLATED, 1, 3)


def test_a_violation_without_cases_has_none():
    violation = Violation("x", (SIZES,), layers.start_clusters, lambda p, s: (p["mixing"], p["mixing"]))
    assert violation.values is None
