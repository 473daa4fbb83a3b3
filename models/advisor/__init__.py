"""Advice about a user's own embeddings: batch size, attention, augmentation strength, depth (theory.md, section 6)."""

import runpy
from pathlib import Path
from typing import Any

# Before the imports below, which a package named models of somebody else's would answer.
_START = Path(__path__[0]).parents[1] / "theory" / "console" / "start.py"
runpy.run_path(str(_START))["start"](__name__, __path__)

from models.advisor.advice import Advice, Answer, Status
from models.advisor.answers import advise
from models.advisor.config import AdvisorConfig

__all__ = ["Advice", "AdvisorConfig", "Answer", "AttentionTransformer", "Status", "advise"]


def __getattr__(name: str) -> Any:
    """AttentionTransformer, only once somebody asks for it: it is built on scikit-learn, which advice does without."""
    if name != "AttentionTransformer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from models.advisor.estimator import AttentionTransformer

    return AttentionTransformer
