"""Every judge, asked about batches that its theorem does not speak of, must say so and not HOLDS."""

import inspect

import numpy as np
import pytest
import torch

from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from tests.strategies import labels_of
from theory import (
    block_model,
    depth_threshold,
    loss_certificate,
    noise_ceiling,
    noise_free,
    persistence,
    softmax_fusion,
)
from theory.judging import rates, verdicts
from theory.judging.rates import RateCell
from theory.judging.verdicts import Status

SIZES = (3, 3)
# Two clusters of orthogonal points: no cosine is positive, no row has a neighbour.
SCATTERED = torch.eye(6, dtype=torch.float64)[None].expand(4, -1, -1)


def layers_of(points):
    return AttentionStack(2, 0.3, normalize="input").measure(points, labels_of(SIZES))


def noise_free_check():
    return noise_free.check_noise_free(layers_of(SCATTERED), SIZES, 0.3, 0.5)


def monotone_check():
    return noise_free.check_monotone(layers_of(SCATTERED).alpha, 0.3, "s")


def spread_check():
    return noise_free.check_spread(layers_of(SCATTERED).alpha, SIZES, 0.3, 0.5)


def persistence_check():
    return persistence.check_persistence(layers_of(SCATTERED), SIZES, 0.3, 0.5, unit_inputs=True)


def depth_check():
    """A threshold below the one that is needed."""
    return depth_threshold.check_depth_threshold(layers_of(SCATTERED), 0.3, 0.5)


def bounded_check():
    """Noise so large that every cosine is allowed."""
    return noise_ceiling.check_bounded(np.zeros(4), np.zeros(4), 2.0, 0.5, 0.9, SIZES)


def certificate_check():
    """A loss of ln 2 certifies an affinity sharpness of 0."""
    return loss_certificate.check_certificate(np.full(4, np.log(2.0)), np.zeros((6, 4)))


def certified_layers_check():
    """The part of Theorem 3 with a hypothesis that fails here: clusters further apart inside than from each other."""
    points = SCATTERED[:, [0, 3, 1, 0, 3, 1]]
    layers = SoftmaxStack(2, 1.0, 0.5, normalize="every").measure(points, labels_of(SIZES))
    parts = softmax_fusion._check_certified(
        layers.alpha, layers.beta, layers.min_cross + 0.5, np.array(SIZES), np.ones(4), np.full(4, 0.5)
    )
    return verdicts.combine_parts("s", parts)


def rate_check():
    return rates.judge_rates("s", [RateCell("a", "kept", 0, 100, applicable=0, pool="all")], 0.05)


def judge_check():
    return verdicts.judge("s", np.zeros(3), 1.0, np.zeros(3, dtype=bool))


JUDGES = [noise_free_check, monotone_check, spread_check, persistence_check, depth_check, bounded_check,
          certificate_check, certified_layers_check, rate_check, judge_check]  # fmt: skip
# Statements without hypotheses on what is measured: every batch that is handed over is spoken of.
UNCONDITIONAL = {"check_exactness", "check_sharpening", "check_softmax_fusion"}


@pytest.mark.parametrize("ask", JUDGES, ids=lambda f: f.__name__)
def test_nothing_is_claimed_of_nothing(ask):
    verdict = ask()
    assert verdict.status is Status.NOT_APPLICABLE, str(verdict)
    assert verdict.applicable == 0


def test_every_judge_of_theory_is_asked():
    modules = (
        block_model,
        depth_threshold,
        loss_certificate,
        noise_ceiling,
        noise_free,
        persistence,
        rates,
        softmax_fusion,
        verdicts,
    )
    judges = {name for module in modules for name, value in inspect.getmembers(module, inspect.isfunction)
              if name.startswith(("check_", "judge"))}  # fmt: skip
    asked = {name for name in judges if any(name in inspect.getsource(ask) for ask in JUDGES)}
    assert judges - asked == UNCONDITIONAL
