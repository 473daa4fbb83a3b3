import math

import numpy as np
import pytest
import torch

from models.losses import info_nce
from models.momentum import moco_loss


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def loop(positives, negatives, temperature):
    """Query by query, score by score."""
    total = 0.0
    for own, others in zip(positives.tolist(), negatives.tolist()):
        weight = math.exp(own / temperature)
        total -= math.log(weight / (weight + sum(math.exp(score / temperature) for score in others)))
    return total / len(positives)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 3])
def test_it_is_its_loop(temperature):
    positives, negatives = random(5), random(5, 7, seed=1)
    value = float(info_nce(positives, negatives, temperature))
    assert value == pytest.approx(loop(positives, negatives, temperature), rel=1e-12)
    assert torch.autograd.gradcheck(
        lambda p, n: info_nce(p, n, temperature), (positives.requires_grad_(), negatives.requires_grad_())
    )


def test_closed_forms():
    scores = torch.full((4,), 0.3, dtype=torch.float64)
    assert float(info_nce(scores, scores[:, None].expand(4, 0))) == 0.0
    assert float(info_nce(scores, scores[:, None].expand(4, 6))) == pytest.approx(math.log(7), rel=1e-14)
    # The default temperature is MoCo v2's .2: a lead of 1 is e^5.
    assert float(info_nce(scores + 1, scores[:, None].expand(4, 2))) == pytest.approx(math.log1p(2 * math.exp(-5)))


def test_moco_scores_cosines_and_uses_it():
    queries, keys, negatives = (random(n, 4, seed=seed) for n, seed in ((5, 0), (5, 1), (7, 2)))
    unit = [rows / rows.norm(dim=1, keepdim=True) for rows in (queries, keys, negatives)]
    for rows, options in ((unit, {}), ((queries, keys, negatives), {"normalize": False})):
        q, k, n = rows
        expected = loop((q * k).sum(1), q @ n.mT, 0.5)
        assert float(moco_loss(queries, keys, negatives, 0.5, **options)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_under_autocast_too(dtype):
    positives, negatives = random(8).to(dtype), random(8, 300, seed=1).to(dtype)
    expected = loop(positives.double(), negatives.double(), 0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = info_nce(positives, negatives)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda p, n: info_nce(p[:, None], n), "positives"),
        (lambda p, n: info_nce(p[:0], n[:0]), "positives"),
        (lambda p, n: info_nce(p.long(), n), "positives"),
        (lambda p, n: info_nce(p / 0.0, n), "positives"),
        (lambda p, n: info_nce(p, n[:2]), "negatives"),
        (lambda p, n: info_nce(p, n[0]), "negatives"),
        (lambda p, n: info_nce(p, math.nan * n), "negatives"),
        (lambda p, n: info_nce(p, n.long()), "negatives"),
        (lambda p, n: info_nce(p, n, 0.0), "temperature"),
        (lambda p, n: info_nce(p, n, math.nan), "temperature"),
        (lambda p, n: info_nce(p.float(), n.float(), 1e-39), "temperature"),
    ],
)
def test_bad_input_is_named(call, named, as_users_call):
    with pytest.raises(ValueError, match=f"^{named}:"):
        call(random(3), random(3, 4, seed=1))
