"""Damaged stacks and false statements: what ships must notice every one of them."""

import numpy as np
import pytest
import torch

from models.attention import Attention, TransFusionBlock
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from synthetic import random_fusion
from synthetic.adversary import attack, settle
from synthetic.claims import KILLED_CLAIMS, TRUE_CLAIMS
from synthetic.experiment import Cell, Geometry, oblique, run_cell
from synthetic.fusion_claims import FUSION_CLAIMS, KILLED_FUSION_CLAIMS
from synthetic.seeding import generator, trial_generators
from synthetic.union_of_subspaces import equiangular_clusters
from tests.strategies import labels_of
from theory import statements
from theory.affinity import affinity_matrix, target_affinity
from theory.inputs import require_points
from theory.loss_certificate import check_certificate
from theory.measurements import affinity_sharpness
from theory.noise_ceiling import gaussian_extremes, recommended_threshold
from theory.precision import numerical_threshold
from theory.softmax_fusion import check_softmax_fusion
from theory.verdicts import Status

pytestmark = pytest.mark.theorems


class DiagonalKept(TransFusionBlock):
    """A point attends to itself."""

    def affinity(self, attention):
        raw = attention.cosines.sub(attention.cut).relu_()
        return raw, raw.sum(dim=-1)


class ThresholdIgnored(TransFusionBlock):
    """Plain ReLU attention, whatever tau is."""

    def attend(self, points):
        return Attention(super().attend(points).cosines, numerical_threshold("float64"))


class RowsNotNormalized(TransFusionBlock):
    """Affinities are used as they are."""

    def affinity(self, attention):
        raw, mass = super().affinity(attention)
        return raw, torch.ones_like(mass)


class OneFalseEdge(TransFusionBlock):
    """A single spurious affinity, in one batch only."""

    def affinity(self, attention):
        raw, _ = super().affinity(attention)
        raw[0, 0, -1] = raw[0, -1, 0] = 1e-3
        return raw, raw.sum(dim=-1)


class ForgetsToMix(TransFusionBlock):
    """Tokens never move: nothing leaks, but nothing fuses either."""

    def mix(self, points, affinity, row_mass):
        return points


DAMAGED = [DiagonalKept, ThresholdIgnored, RowsNotNormalized, OneFalseEdge, ForgetsToMix]


def noisy_cell():
    geometry, sizes = Geometry(num_clusters=3, subspace_dim=2), (5, 4, 4)
    extremes = gaussian_extremes(32, 3, sizes, 0.9, 0.0, 0.05, 0.35)
    threshold = recommended_threshold(*extremes, sizes)
    return Cell(0, 32, sizes, "gaussian", 0.35, threshold, False, geometry, 4, 0.5, 20, 0)


def clean_cell():
    geometry = oblique(Geometry(num_clusters=3, subspace_dim=2))
    return Cell(0, 12, (5, 4, 4), "none", 0.0, 0.0, True, geometry, 4, 0.5, 20, 0)


@pytest.mark.parametrize("block", DAMAGED)
def test_a_damaged_stack_violates_theorem_2a(block):
    damaged = type("Damaged", (AttentionStack,), {"block_type": block})
    result = run_cell(noisy_cell(), stack_factory=damaged)
    assert result.verdicts["theorem_2a"].status is Status.VIOLATED, str(result.verdicts["theorem_2a"])
    assert result.suspects["theorem_2a"][1].shape == (13, 32)
    if block is OneFalseEdge:
        assert result.trajectory.false_edges.max() == 1


@pytest.mark.parametrize("block", [DiagonalKept, RowsNotNormalized, OneFalseEdge, ForgetsToMix])
def test_a_damaged_stack_violates_theorem_1(block):
    damaged = type("Damaged", (AttentionStack,), {"block_type": block})
    assert run_cell(clean_cell(), stack_factory=damaged).verdicts["theorem_1"].status is Status.VIOLATED


@pytest.mark.parametrize("cell", [noisy_cell(), clean_cell()])
def test_the_sound_stack_violates_nothing(cell):
    result = run_cell(cell)
    assert {v.status for v in result.verdicts.values()} == {Status.HOLDS}
    assert not result.suspects


def test_a_nan_batch_never_becomes_a_verdict(monkeypatch):
    monkeypatch.setattr("synthetic.experiment.add_noise", lambda points, *rest: points * np.nan)
    with pytest.raises(ValueError, match="points: contains NaN"):
        run_cell(noisy_cell())
    with pytest.raises(ValueError, match="NaN"):
        require_points(np.full((2, 2), np.nan))


# --- Theorem 3 --------------------------------------------------------------------------------------------------------


class DiagonalRemoved(SoftmaxStack):
    """A point does not attend to itself."""

    def weigh(self, cosines, inverse_temperature):
        weights, _ = super().weigh(cosines, inverse_temperature)
        weights.diagonal(dim1=-2, dim2=-1).fill_(0.0)
        return weights, weights.sum(dim=-1)


class TemperatureDoubled(SoftmaxStack):
    """Attention twice as peaked as said."""

    def weigh(self, cosines, inverse_temperature):
        return super().weigh(cosines, 2.0 * inverse_temperature)


class TemperatureHalved(SoftmaxStack):
    """Attention half as peaked as said."""

    def weigh(self, cosines, inverse_temperature):
        return super().weigh(cosines, 0.5 * inverse_temperature)


class WeightsNotNormalized(SoftmaxStack):
    """Exponentials are used as they are."""

    def weigh(self, cosines, inverse_temperature):
        weights, mass = super().weigh(cosines, inverse_temperature)
        return weights, torch.ones_like(mass)


class TokensNeverMove(SoftmaxStack):
    """Nothing fuses. Seen by (c) alone: the bounds of (a) and (b) allow clusters that stay where they are."""

    def _mix(self, tokens, weights, mass, mixing):
        return tokens


class ScatteredTokens(SoftmaxStack):
    """A block that pushes tokens apart in place of together."""

    def _mix(self, tokens, weights, mass, mixing):
        return super()._mix(tokens, weights, mass, -0.3 * mixing)


def softmax_verdict(stack_type, within, between, kappa, normalize):
    sizes = (3, 4)
    points = equiangular_clusters(within, between, sizes, 8, trial_generators(0, 0, range(3), 0))
    layers = stack_type(6, kappa, 0.5, normalize=normalize).measure(torch.from_numpy(points), labels_of(sizes))
    return check_softmax_fusion(layers, sizes, kappa, 0.5, normalized=normalize == "every")


@pytest.mark.parametrize("normalize", ["input", "every"])
@pytest.mark.parametrize(
    ("stack_type", "between", "kappa", "part"),
    [
        (DiagonalRemoved, 0.5, 1.0, "3a: mass"),
        (TemperatureDoubled, 0.5, 1.0, "3c: mass"),
        (TemperatureHalved, 0.5, 1.0, "3a: mass"),
        (WeightsNotNormalized, 0.5, 1.0, "mass"),
        (TokensNeverMove, 0.5, 0.1, "3c"),
        (ScatteredTokens, 0.5, 0.1, "3"),
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
    assert softmax_verdict(TokensNeverMove, 0.9, -0.1, 5.0, "every").status is Status.HOLDS


def test_clusters_that_drift_apart_violate_the_certified_layers():
    """Cosines fall although none may: negative ones, so that (c) is silent."""
    verdict = softmax_verdict(ScatteredTokens, 0.9, -0.1, 50.0, "every")
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
    """A batch that is sharp for one labelling certifies nothing about another."""
    rows = torch.from_numpy(target_affinity(labels_of((4, 4))))[None]
    other = np.array([0, 1] * 4)
    loss = random_fusion.affinity_jsd(rows, rows[0]).numpy()
    assert check_certificate(loss, affinity_sharpness(rows.numpy(), other).T).status is Status.VIOLATED
    loss = random_fusion.affinity_jsd(rows, torch.from_numpy(target_affinity(other))).numpy()
    assert check_certificate(loss, affinity_sharpness(rows.numpy(), other).T).status is Status.HOLDS


# --- the block model and Proposition 5 --------------------------------------------------------------------------------


class PowerIgnored(TransFusionBlock):
    """Plain ReLU, whatever the power."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.power = 1.0


def damaged_search(monkeypatch, block, draw, count=12):
    monkeypatch.setattr(random_fusion, "AttentionStack", type("Damaged", (AttentionStack,), {"block_type": block}))
    monkeypatch.setattr(random_fusion, "POWERS", (2.0,))
    return {draw(generator(5, i)).status for i in range(count)}


@pytest.mark.parametrize("block", [PowerIgnored, DiagonalKept, ThresholdIgnored, RowsNotNormalized, ForgetsToMix])
def test_a_damaged_block_violates_the_block_model(monkeypatch, as_users_call, block):
    assert Status.VIOLATED in damaged_search(monkeypatch, block, random_fusion.block_model_shape)


@pytest.mark.parametrize("block", [PowerIgnored, DiagonalKept, ThresholdIgnored, RowsNotNormalized])
def test_a_damaged_block_violates_proposition_5(monkeypatch, as_users_call, block):
    assert Status.VIOLATED in damaged_search(monkeypatch, block, random_fusion.sharpening_shape)


def test_a_block_that_does_nothing_leaves_proposition_5_undecided(monkeypatch, as_users_call):
    """A change of exactly 0 has no sign."""
    assert damaged_search(monkeypatch, ForgetsToMix, random_fusion.sharpening_shape, 4) == {Status.UNDECIDED}


# --- the adversary ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", [*TRUE_CLAIMS, *FUSION_CLAIMS], ids=lambda c: c.name)
def test_the_adversary_does_not_break_what_is_true(claim):
    result = attack(claim, restarts=12, steps=60)
    assert result.inside > result.restarts / 4, "the search must spend its time inside the hypotheses"
    if result.refuted:
        assert claim.replay is not None, result
        assert settle(result)[1].status is Status.HOLDS


@pytest.mark.parametrize("claim", [*KILLED_CLAIMS, *KILLED_FUSION_CLAIMS], ids=lambda c: c.name)
def test_the_adversary_refutes_what_is_false(claim):
    """With fewer steps than true claims withstand, so that withstanding says something."""
    assert attack(claim, restarts=12, steps=20).refuted


def test_every_killed_statement_is_attacked_or_refuted_by_numbers():
    attacked = {claim.name for claim in (*KILLED_CLAIMS, *KILLED_FUSION_CLAIMS)}
    # The endless floor is a statement about all batch sizes; tests/theory/test_batch_floor.py has its numbers.
    by_numbers = {statements.ENDLESS_FLOOR.name, statements.ANY_NOISE.name, statements.ISOLATED_POINTS.name}
    assert {killed.name for killed in statements.KILLED} - attacked == by_numbers
    assert not any(claim.true for claim in (*KILLED_CLAIMS, *KILLED_FUSION_CLAIMS))
