"""Losses: of affinities (affinity.py, divergence.py, read off by readout.py), of features (contrastive.py, legacy.py),
of scores (info_nce.py); objectives, which put any but the last on any head (objectives.py); and modules for anybody's
training loop (modules.py)."""

from models.losses.affinity import affinity_jsd, affinity_jsd_from_points
from models.losses.contrastive import nt_xent, supcon, view_pair_labels
from models.losses.divergence import Divergence, affinity_divergence, target_of_labels
from models.losses.info_nce import info_nce
from models.losses.legacy import symnsq_legacy
from models.losses.modules import AffinityJSDLoss, NTXentLoss, SupConLoss
from models.losses.objectives import OBJECTIVES, Objective, ObjectiveKind, objective_from_name
from models.losses.readout import Readout, read_affinity

__all__ = [
    "OBJECTIVES",
    "AffinityJSDLoss",
    "Divergence",
    "NTXentLoss",
    "Objective",
    "ObjectiveKind",
    "Readout",
    "SupConLoss",
    "affinity_divergence",
    "affinity_jsd",
    "affinity_jsd_from_points",
    "info_nce",
    "nt_xent",
    "objective_from_name",
    "read_affinity",
    "supcon",
    "symnsq_legacy",
    "target_of_labels",
    "view_pair_labels",
]
