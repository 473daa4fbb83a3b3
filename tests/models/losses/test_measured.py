import math

import pytest
import torch

from models.losses.measured import measure_affinity

# Two classes, of three rows and two, in an order that mixes them.
LABELS = torch.tensor([7, 2, 7, 2, 7])


def cosines_of(within, cross):
    alike = LABELS[:, None] == LABELS
    return torch.where(alike, within, cross).double().fill_diagonal_(1.0)


def test_equal_cosines_by_hand():
    """A row of the class of three has mass 2 w^2 inside it and 2 c^2 outside, one of the class of two w^2 and 3 c^2."""
    found = measure_affinity(cosines_of(0.6, 0.2)[None], LABELS)
    large, small = 2 * 0.36 / (2 * 0.36 + 2 * 0.04), 0.36 / (0.36 + 3 * 0.04)
    assert found.sharpness.tolist() == pytest.approx([large, small, large, small, large], abs=1e-8)
    assert found.within.tolist() == pytest.approx([0.6] * 8)
    assert found.cross.tolist() == pytest.approx([0.2] * 12)
    # JSD of (s/k on k entries, the rest elsewhere) to 1/k on them: theory.md, section 4.
    jsd = [
        0.5 * (s * math.log(2 * s / (s + 1)) + math.log(2 / (s + 1)) + (1 - s) * math.log(2)) for s in (large, small)
    ]
    assert float(found.jsd) == pytest.approx((3 * jsd[0] + 2 * jsd[1]) / 5, abs=1e-8)
    torch.testing.assert_close(found.affinity.sum(-1), torch.ones(5, dtype=torch.float64))


def test_heads_are_averaged():
    both = torch.stack([cosines_of(0.6, 0.2), cosines_of(0.0, -0.4)])
    found = measure_affinity(both, LABELS)
    assert found.cross.tolist() == pytest.approx([-0.1] * 12)
    assert found.sharpness.tolist() == pytest.approx(
        measure_affinity(cosines_of(0.6, 0.2)[None], LABELS).sharpness.tolist(), abs=1e-8
    )


def test_unresolved_cosines_are_no_mass_but_cosines():
    found = measure_affinity(cosines_of(0.6, 1e-4)[None], LABELS, resolution=1e-3)
    assert found.sharpness.tolist() == [1.0] * 5
    assert found.cross.tolist() == pytest.approx([1e-4] * 12)
    assert float(measure_affinity(cosines_of(0.6, 1e-4)[None], LABELS).sharpness.max()) < 1.0
