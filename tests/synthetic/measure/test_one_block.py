"""One block's graph, against the stack's own output."""

import numpy as np
import pytest
import torch

from models.stack import AttentionStack
from synthetic.measure.one_block import one_block
from theory.affinity import affinity_matrix
from theory.measurements import false_edges, fragments, recovered


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.8])
def test_the_graph_is_that_of_the_truncated_block(squared, threshold):
    points = np.random.default_rng(0).standard_normal((40, 15, 3))
    points[:, :5] += 2.0 * np.eye(3)[0]
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    labels = np.array([0, 1, 2] * 5)
    false, pieces = one_block(torch.from_numpy(points), labels, threshold, squared)
    affinity = affinity_matrix(points, threshold, 2, signed=not squared)
    assert list(false) == list(false_edges(affinity, labels) > 0)
    assert list(pieces) == list((fragments(affinity, labels) > 1).any(axis=-1))
    stack = AttentionStack(1, threshold, signed=not squared)
    output = stack.truncated_output(torch.from_numpy(points))
    assert list(~false & ~pieces) == recovered(output, torch.from_numpy(labels)).tolist()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("offset", [-0.01, -1e-6, 1e-6, 0.01])
def test_edges_begin_at_the_cut(offset, squared):
    """Two clusters on a circle; the closest cross pair, and then each cluster's only pair, stand a little above or
    below the cut. Where signs are ignored the second cluster is turned to the other side."""
    across, inside = np.cos(0.9), np.cos(0.4)
    angles = np.array([0.0, 0.4, 1.3, 1.7])
    points = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None])
    points[:, 2:] *= -1.0 if squared else 1.0
    for cut, expected in ((across - offset, (offset > 0, False)), (inside - offset, (False, offset < 0))):
        false, pieces = one_block(points, np.array([0, 0, 1, 1]), cut, squared)
        assert (false[0], pieces[0]) == expected
