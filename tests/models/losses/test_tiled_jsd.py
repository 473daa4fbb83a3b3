"""The tiled loss alone: tiles of any size say what whole matrices say, and a point alone in its cluster is left out."""

import numpy as np
import pytest
import torch

from models.losses.affinity import affinity_jsd
from models.losses.common import read_labels
from models.losses.divergence import target_of_labels
from models.losses.readout import read_affinity
from models.losses.tiled_jsd import TiledDivergence

LABELS = [0, 0, 0, 1, 1, 2, 3, 3]
CUT = 1e-10
READ = read_labels(LABELS, len(LABELS), "cpu")


def keys():
    points = torch.from_numpy(np.random.default_rng(3).standard_normal((len(LABELS), 3)))
    return torch.nn.functional.normalize(points, dim=-1).requires_grad_()


@pytest.mark.parametrize("tile_rows", [1, 3, 8])
def test_tiles_change_nothing(tile_rows):
    tiled, whole = keys(), keys()
    loss = TiledDivergence.apply(tiled, READ, CUT, 2.0, tile_rows)[0]
    expected = affinity_jsd(read_affinity((whole @ whole.mT)[None]), target_of_labels(LABELS, dtype=torch.float64))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    (slope,) = torch.autograd.grad(loss, tiled)
    (expected_slope,) = torch.autograd.grad(expected, whole)
    torch.testing.assert_close(slope, expected_slope, rtol=1e-9, atol=1e-12)


def test_orthogonal_clusters_lose_nothing():
    points = torch.eye(4, dtype=torch.float64)[LABELS]
    assert TiledDivergence.apply(points, READ, CUT, 1.0, 2)[0].item() == pytest.approx(0.0, abs=1e-12)
