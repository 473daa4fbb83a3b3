"""Every claim, in the order of the report."""

from paper_checks.claims import Claim
from paper_checks.papers import (
    deep_fusion,
    feature_transform,
    limits,
    momenta,
    simclr,
    transfusion_stacks,
    transfusion_theory,
    transfusion_training,
)


def all_claims() -> dict[str, Claim]:
    """Every claim by its id."""
    transfusion = (*transfusion_theory.CLAIMS, *transfusion_stacks.CLAIMS, *transfusion_training.CLAIMS)
    others = (*limits.CLAIMS, *deep_fusion.CLAIMS, *simclr.CLAIMS)
    moco = (*momenta.CLAIMS, *feature_transform.CLAIMS)
    return {claim.id: claim for claim in (*sorted(transfusion, key=_place), *others, *sorted(moco, key=_place))}


def _place(claim: Claim) -> tuple[int, str]:
    """T4a before T10."""
    number = claim.id[1:].rstrip("abcdefgh")
    return int(number), claim.id
