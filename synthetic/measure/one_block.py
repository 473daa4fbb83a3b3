"""One block's graph: which batches have a false edge, and which a cluster in pieces."""

import numpy as np
import torch

from models.stack import CPU_CHUNK_BYTES, GPU_CHUNK_BYTES
from theory.affinity import effective_threshold
from theory.batches.clusters import as_numpy, cluster_layout
from theory.measurements import cosine_extremes, is_connected


def one_block(
    points: torch.Tensor, labels: np.ndarray, threshold: float, squared: bool, device: str | torch.device = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Which batches (trials, n, D) of unit points have a false edge, and which a cluster in pieces, (trials,) each.

    The graph is that of the truncated block: C > cut, or |C| > cut where signs are ignored, cut = max(tau, tau_num).
    """
    layout = cluster_layout(labels, points.shape[-2])
    cut = float(effective_threshold(threshold, points.dtype))
    budget = CPU_CHUNK_BYTES if torch.device(device).type == "cpu" else GPU_CHUNK_BYTES
    chunk = max(1, budget // (points.element_size() * points.shape[-2] ** 2))
    false, pieces = [], []
    for part in torch.split(points.to(device), chunk):
        ordered = layout.sort_rows(part, axis=-2)
        cosines = ordered @ ordered.mT
        cosines = cosines.abs_() if squared else cosines
        alpha, beta = cosine_extremes(cosines, layout)
        false.append(as_numpy(beta > cut))
        broken = np.zeros(len(part), dtype=bool)
        # A cluster whose smallest cosine passes the cut is complete, hence whole.
        thin = np.flatnonzero(as_numpy(~(alpha > cut)))
        for rows in layout.slices if thin.size else ():
            broken[thin] |= as_numpy(~is_connected(cosines[thin, rows, rows] > cut))
        pieces.append(broken)
    return np.concatenate(false), np.concatenate(pieces)
