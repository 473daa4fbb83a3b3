"""The advisor's question of the strength by itself: where features lose half of their excess affinity sharpness.

The same numbers as ``advise`` gives, without its other questions, for whoever asks again and again.
"""

from models.advisor.advice import Answer
from models.advisor.answers import DEFAULTS, limit_answer
from models.advisor.config import AdvisorConfig
from models.advisor.findings import choose, keep_nothing, pools_of, strength_limits
from models.advisor.inputs.features import FeatureSet
from models.advisor.questions.attention import AttentionKind


def critical_strength(
    features: FeatureSet, config: AdvisorConfig = DEFAULTS, kind: AttentionKind = "relu"
) -> Answer | None:
    """The largest strength that keeps ``config.target`` of the excess affinity sharpness of one attention.

    Returns:
        PREDICTED with value and interval; UNDECIDED, with the strength that it is at least, where more is left at the
        largest embedded strength. None where that attention does not see the classes.

    Raises:
        ValueError: fewer than two embedded strengths; a batch size that the rows do not fill.
    """
    if len(features.strengths) < 2:
        raise ValueError(f"strengths: needs views at two or more, got {len(features.strengths)}")
    raw, centered, batch_size = pools_of(features, config)
    _, use_centered, weights = choose(raw, centered, batch_size, config, keep_nothing)
    asked = tuple(each for each in weights if each[0] == kind)
    if not asked:
        return None
    _, (limit,) = strength_limits(features, features.strengths, use_centered, asked, batch_size, config)
    return limit_answer(limit, features.strengths, config)
