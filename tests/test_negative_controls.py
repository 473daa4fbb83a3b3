"""Damaged stacks and false statements: what ships must notice every one of them."""

import numpy as np
import pytest
import torch

from models.attention import Attention, TransFusionBlock
from models.stack import AttentionStack
from synthetic.adversary import attack, settle
from synthetic.claims import KILLED_CLAIMS, TRUE_CLAIMS
from synthetic.experiment import Cell, Geometry, oblique, run_cell
from theory.inputs import require_points
from theory.noise_ceiling import gaussian_extremes, recommended_threshold
from theory.precision import numerical_threshold
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


@pytest.mark.parametrize("claim", TRUE_CLAIMS, ids=lambda c: c.name)
def test_the_adversary_does_not_break_what_is_true(claim):
    result = attack(claim, restarts=12, steps=60)
    assert result.inside > result.restarts / 4, "the search must spend its time inside the hypotheses"
    assert not result.refuted or settle(result)[1].status is Status.HOLDS


@pytest.mark.parametrize("claim", KILLED_CLAIMS, ids=lambda c: c.name)
def test_the_adversary_refutes_what_is_false(claim):
    assert attack(claim, restarts=12, steps=60).refuted
