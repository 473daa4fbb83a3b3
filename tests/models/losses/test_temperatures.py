"""Temperatures down to the smallest numbers of every dtype: a finite loss with finite gradients, or a ValueError."""

import math

import numpy as np
import pytest
import torch

from models.losses import Objective, nt_xent, read_affinity, supcon, symnsq_legacy
from models.momentum import moco_loss
from tests.half_precision import embeddings

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
TINY = [10.0**-k for k in (3, 5, 10, 20, 30, 35, 36, 37, 38, 39, 42, 45, 46, 150, 155, 300, 305, 307, 308, 310)]
TINY = [*TINY, 2.0**-126, 2.0**-149, 2.0**-1022, 5e-324]
LABELS = np.arange(16) % 8


def loss_of_rows(kind):
    return lambda x, t: Objective(kind, temperature=t)(embeddings(x), LABELS)


CALLS = {
    "nt_xent": lambda x, t: nt_xent(x[:8], x[8:], t),
    "nt_xent of products": lambda x, t: nt_xent(x[:8], x[8:], t, normalize=False),
    "nt_xent of small products": lambda x, t: nt_xent(0.01 * x[:8], 0.01 * x[8:], t, normalize=False),
    "nt_xent in tiles": lambda x, t: nt_xent(x[:8], x[8:], t, tile_rows=5),
    "supcon": lambda x, t: supcon(x, LABELS // 2, t),
    "moco_loss": lambda x, t: moco_loss(x[:4], x[4:8], x[8:], t),
    "moco_loss of products": lambda x, t: moco_loss(x[:4], x[4:8], x[8:], t, normalize=False),
    "symnsq_legacy": lambda x, t: symnsq_legacy(x[:8], x[8:], t),
    "softmax readout": lambda x, t: (
        read_affinity((x @ x.mT / 64)[None].clamp(-1, 1), "softmax", temperature=t) * torch.arange(16)
    ).sum(),
    "objective": loss_of_rows("nt_xent"),
}
# Losses that divide twice by the temperature, or not at all, reach further or less far.
USUAL = {torch.float64: 1e-300, torch.float32: 1e-30, torch.float16: 1e-30, torch.bfloat16: 1e-30}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CALLS)
def test_finite_or_refused(name, dtype):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((16, 8))).to(dtype).requires_grad_()
    refused = []
    for temperature in TINY:
        try:
            value = CALLS[name](x, temperature)
        except ValueError:
            with pytest.raises(ValueError, match="temperature: must be larger"):
                CALLS[name](x, temperature)
            refused.append(temperature)
            continue
        assert torch.isfinite(value), temperature
        (gradient,) = torch.autograd.grad(value, x)
        # In half precision a gradient of 1/temperature may leave the input's dtype, not that of the loss.
        assert torch.isfinite(gradient).all() or dtype in (torch.float16, torch.bfloat16), temperature
        assert not gradient.isnan().any() or dtype == torch.float16
    usual = USUAL[dtype] ** 0.5 if name == "symnsq_legacy" else USUAL[dtype]
    assert refused
    assert max(refused) < usual, "what can be computed is not refused"
    assert {t for t in TINY if t < min(torch.finfo(dtype).tiny, 1e-38)} <= set(refused)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_at_small_temperatures(dtype):
    """Far below the gaps between cosines a loss is the gap to the best negative over the temperature."""
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=dtype)
    b = torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=dtype)
    # Rows of a see their partner and the other's at the same cosine; rows of b see each other at cosine 1.
    temperature = 1e-5
    expected = (2 * math.log(2) + 2 * (1 - math.sqrt(0.5)) / temperature) / 4
    assert float(nt_xent(a, b, temperature)) == pytest.approx(expected, rel=1e-5)


def test_more_rows_need_a_larger_temperature():
    """Every logit is finite here; the sum over the positives of a class, and over rows, is not."""
    x = torch.eye(2)[torch.arange(512) % 2]
    temperature = 1.5e-38
    assert math.isfinite(1 / temperature)
    assert 1 / temperature < torch.finfo(torch.float32).max
    with pytest.raises(ValueError, match=r"temperature: must be larger.*512 of them"):
        supcon(x, torch.arange(512) % 2, temperature)
