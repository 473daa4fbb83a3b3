"""Advice about a user's own embeddings: batch size, attention, augmentation strength, depth (theory.md, section 6)."""

from models.advisor.advice import Advice, Answer, Status
from models.advisor.answers import advise
from models.advisor.config import AdvisorConfig
from models.advisor.estimator import AttentionTransformer

__all__ = ["Advice", "AdvisorConfig", "Answer", "AttentionTransformer", "Status", "advise"]
