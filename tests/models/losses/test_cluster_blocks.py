"""Blocks of clusters: every pair of a cluster is in one place, whatever the clusters' sizes."""

import numpy as np
import pytest
import torch

from models.losses import cluster_blocks as blocks
from models.losses.affinity import affinity_jsd, affinity_jsd_from_points
from models.losses.cluster_blocks import cluster_blocks
from models.losses.common import target_of_index
from models.losses.readout import read_affinity
from theory.batches.clusters import group_rows

CASES = {
    "one size": np.repeat(np.arange(5), 4),
    "pairs": np.tile(np.arange(6), 2),
    "all sizes": np.random.default_rng(0).permutation(np.repeat(np.arange(9), np.arange(1, 10))),
    "alone": np.array([3, 1, 3, 0, 7, 7, 7]),
    "nobody is alike": np.arange(4),
}


@pytest.mark.parametrize("entries", [blocks.BLOCK_ENTRIES, 30, 1])
@pytest.mark.parametrize("name", CASES)
def test_every_pair_is_in_one_block(name, entries, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", entries)
    labels = CASES[name]
    n = len(labels)
    seen = np.zeros((n + 1, n + 1), int)
    for block in cluster_blocks(group_rows(labels), torch.device("cpu")):
        for rows, members, size in zip(block.rows, block.members, block.sizes):
            assert int((members < n).sum()) == size
            seen[np.ix_(rows, members)] += 1
        own = [row[: len(block.rows[0])] for row in block.members[:, block.first :]]
        assert torch.equal(torch.stack(own), block.rows), "the diagonal begins at the first row's own place"
    expected = labels[:, None] == labels
    expected &= expected.sum(1, keepdims=True) > 1
    np.testing.assert_array_equal(seen[:n, :n], expected)


def test_sizes_in_a_block_are_nearly_one():
    """Places without anybody are fewer than those with, however sizes are spread."""
    layout = group_rows(CASES["all sizes"])
    for block in cluster_blocks(layout, torch.device("cpu")):
        assert int(block.sizes.min()) >= blocks.FILLED * block.members.shape[1]


@pytest.mark.parametrize("entries", [blocks.BLOCK_ENTRIES, 30])
@pytest.mark.parametrize("name", ["all sizes", "alone"])
def test_the_loss_of_clusters_of_any_sizes(name, entries, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", entries)
    labels = torch.from_numpy(CASES[name])
    x = torch.randn(len(labels), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    target, found = target_of_index(labels, x.dtype), []
    for loss in (
        lambda z: affinity_jsd_from_points(z, labels),
        lambda z: affinity_jsd(read_affinity((u := z / z.norm(dim=1, keepdim=True)) @ u.mT[None]), target),
    ):
        z = x.clone().requires_grad_()
        value = loss(z)
        found.append((value.detach(), *torch.autograd.grad(value, z)))
    torch.testing.assert_close(found[0], found[1])
