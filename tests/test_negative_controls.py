"""Damaged stacks and false statements: what ships must notice every one of them."""

import numpy as np
import pytest
import torch

from models.losses import affinity_jsd
from models.softmax_fusion import SoftmaxStack
from synthetic.batches.cell import Cell
from synthetic.batches.geometry import Geometry, oblique
from synthetic.batches.seeding import generator, trial_generators
from synthetic.batches.union_of_subspaces import equiangular_clusters
from synthetic.sweeps.noise_cells import run_cell
from synthetic.trials import damaged
from synthetic.trials.ascent import attack
from synthetic.trials.prosecution import Prosecution
from synthetic.trials.registry import trial_of, trials
from tests.strategies import labels_of
from theory.affinity import affinity_matrix, target_affinity
from theory.judging import statements
from theory.judging.verdicts import Status
from theory.loss_certificate import check_certificate
from theory.measurements import affinity_sharpness
from theory.noise_ceiling import gaussian_extremes, recommended_threshold
from theory.numerics.inputs import require_points
from theory.softmax_fusion import check_softmax_fusion

pytestmark = pytest.mark.theorems


DAMAGED = damaged.stacks("DiagonalKept", "ThresholdIgnored", "RowsNotNormalized", "OneFalseEdge", "ForgetsToMix")


def noisy_cell():
    geometry, sizes = Geometry(num_clusters=3, subspace_dim=2), (5, 4, 4)
    extremes = gaussian_extremes(32, 3, sizes, 0.9, 0.0, 0.05, 0.35)
    threshold = recommended_threshold(*extremes, sizes)
    return Cell(0, 32, sizes, "gaussian", 0.35, threshold, False, geometry, 4, 0.5, 20, 0)


def clean_cell():
    geometry = oblique(Geometry(num_clusters=3, subspace_dim=2))
    return Cell(0, 12, (5, 4, 4), "none", 0.0, 0.0, True, geometry, 4, 0.5, 20, 0)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_stack_violates_theorem_2a(name):
    result = run_cell(noisy_cell(), stack_factory=DAMAGED[name])
    assert result.verdicts["theorem_2a"].status is Status.VIOLATED, str(result.verdicts["theorem_2a"])
    assert result.suspects["theorem_2a"] in range(20)
    if name == "OneFalseEdge":
        assert result.trajectory.false_edges.max() == 1


@pytest.mark.parametrize("name", [name for name in DAMAGED if name != "ThresholdIgnored"])
def test_a_damaged_stack_violates_theorem_1(name):
    assert run_cell(clean_cell(), stack_factory=DAMAGED[name]).verdicts["theorem_1"].status is Status.VIOLATED


@pytest.mark.parametrize("cell", [noisy_cell(), clean_cell()])
def test_the_sound_stack_violates_nothing(cell):
    result = run_cell(cell)
    assert {v.status for v in result.verdicts.values()} == {Status.HOLDS}
    assert not result.suspects


def test_a_nan_batch_never_becomes_a_verdict(monkeypatch):
    monkeypatch.setattr("synthetic.batches.cell.add_noise", lambda points, *rest: points * np.nan)
    with pytest.raises(ValueError, match="points: contains NaN"):
        run_cell(noisy_cell())
    with pytest.raises(ValueError, match="NaN"):
        require_points(np.full((2, 2), np.nan))


# --- Theorem 3 --------------------------------------------------------------------------------------------------------


def softmax_verdict(stack_type, within, between, kappa, normalize):
    sizes = (3, 4)
    points = equiangular_clusters(within, between, sizes, 8, trial_generators(0, 0, range(3), 0))
    layers = stack_type(6, kappa, 0.5, normalize=normalize).measure(torch.from_numpy(points), labels_of(sizes))
    return check_softmax_fusion(layers, sizes, kappa, 0.5, normalized=normalize == "every")


@pytest.mark.parametrize("normalize", ["input", "every"])
@pytest.mark.parametrize(
    ("stack_type", "between", "kappa", "part"),
    [
        (damaged.DiagonalRemoved, 0.5, 1.0, "3a: mass"),
        (damaged.TemperatureDoubled, 0.5, 1.0, "3c: mass"),
        (damaged.TemperatureHalved, 0.5, 1.0, "3a: mass"),
        (damaged.WeightsNotNormalized, 0.5, 1.0, "mass"),
        (damaged.TokensNeverMove, 0.5, 0.1, "3c"),
        (damaged.ScatteredTokens, 0.5, 0.1, "3"),
    ],
)
def test_a_damaged_softmax_stack_violates_theorem_3(stack_type, between, kappa, part, normalize):
    """Clusters of equal points: the bounds on the mass are attained."""
    assert softmax_verdict(SoftmaxStack, 1.0, between, kappa, normalize).status is Status.HOLDS
    verdict = softmax_verdict(stack_type, 1.0, between, kappa, normalize)
    assert verdict.status is Status.VIOLATED, str(verdict)
    assert part in verdict.detail


def test_tokens_that_never_move_pass_where_some_cosine_is_not_positive():
    """(c) does not speak there, and what (a) and (b) promise is kept: the limit of what Theorem 3 can notice."""
    assert softmax_verdict(damaged.TokensNeverMove, 0.9, -0.1, 5.0, "every").status is Status.HOLDS


def test_clusters_that_drift_apart_violate_the_certified_layers():
    """Cosines fall although none may: negative ones, so that (c) is silent."""
    verdict = softmax_verdict(damaged.ScatteredTokens, 0.9, -0.1, 50.0, "every")
    assert verdict.status is Status.VIOLATED
    assert "3b" in verdict.detail


# --- Theorem 4 --------------------------------------------------------------------------------------------------------


def test_a_loss_that_counts_empty_rows_half_violates_theorem_4():
    labels = labels_of((3, 3))
    affinity = affinity_matrix(np.eye(6)[None], 0.5)
    sharpness = affinity_sharpness(affinity, labels).T
    assert check_certificate(np.array([np.log(2)]), sharpness).status is Status.NOT_APPLICABLE, "nothing is certified"
    assert check_certificate(np.array([np.log(2) / 2]), sharpness).status is Status.VIOLATED


def test_the_loss_of_other_labels_violates_theorem_4():
    """A batch that is sharp for one labeling certifies nothing about another."""
    rows = torch.from_numpy(target_affinity(labels_of((4, 4))))[None]
    other = np.array([0, 1] * 4)
    loss = affinity_jsd(rows, rows[0]).numpy()
    assert check_certificate(loss, affinity_sharpness(rows.numpy(), other).T).status is Status.VIOLATED
    loss = affinity_jsd(rows, torch.from_numpy(target_affinity(other))).numpy()
    assert check_certificate(loss, affinity_sharpness(rows.numpy(), other).T).status is Status.HOLDS


# --- Proposition 5 ----------------------------------------------------------------------------------------------------


def test_a_block_that_does_nothing_leaves_proposition_5_undecided(as_users_call):
    """A change of exactly 0 has no sign."""
    trial, (still,) = trial_of("proposition_5"), damaged.stacks("ForgetsToMix").values()
    assert {trial.check(trial.draw(generator(5, i)), still).status for i in range(4)} == {Status.UNDECIDED}


# --- the adversary ----------------------------------------------------------------------------------------------------

TRUE = [(trial, violation) for trial in trials() for violation in trial.violations]
KILLED = [(trial, violation) for trial in trials() for violation in trial.killed]


@pytest.mark.parametrize(("trial", "violation"), TRUE, ids=[violation.name for _, violation in TRUE])
def test_the_adversary_does_not_break_what_is_true(trial, violation):
    found = Prosecution(trial, attack(violation, restarts=8, steps=40))
    assert found.attack.inside > found.attack.restarts / 4, "the search must spend its time inside the hypotheses"
    if found.refuted:
        assert found.counterexample() is not None, found
        assert found.settled().status is Status.HOLDS


@pytest.mark.parametrize(("trial", "violation"), KILLED, ids=[violation.name for _, violation in KILLED])
def test_the_adversary_refutes_what_is_false(trial, violation):
    """With fewer steps than true claims withstand, so that withstanding says something."""
    assert Prosecution(trial, attack(violation, restarts=12, steps=20)).refuted


def test_every_killed_statement_is_attacked_or_refuted_by_numbers():
    attacked = {violation.name: trial.statement.name for trial, violation in KILLED}
    # The endless floor is a statement about all batch sizes; tests/theory/test_batch_floor.py has its numbers.
    by_numbers = {statements.ENDLESS_FLOOR.name, statements.ANY_NOISE.name, statements.ISOLATED_POINTS.name,
                  statements.MEAN_HITS.name}  # fmt: skip
    assert {killed.name for killed in statements.KILLED} - attacked.keys() == by_numbers
    assert all(attacked.get(killed.name, killed.mended_by) == killed.mended_by for killed in statements.KILLED)
