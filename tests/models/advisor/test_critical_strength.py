"""The question of the strength by itself has the answer that the whole advice gives."""

import numpy as np
import pytest

from models.advisor import AdvisorConfig, Status
from models.advisor.answers import advice_of
from models.advisor.critical_strength import critical_strength
from models.advisor.findings import find
from models.advisor.inputs.features import feature_set
from tests.models.advisor.rows import STRENGTHS, gaussian_set, rows_of, views_of


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(AdvisorConfig(), marks=pytest.mark.slow),
        AdvisorConfig(batch_size=48, target=0.8, effective_neighbors=9.0),
    ],
)
def test_it_is_the_answer_of_the_whole_advice(config):
    features = gaussian_set(0)
    advice = advice_of(find(features, config), config)
    for kind in ("relu", "softmax"):
        found = critical_strength(features, config, kind)
        assert found == advice.answer(f"strength_{kind}")
        assert found.status is Status.PREDICTED
        assert found.low < found.value < found.high


def test_strengths_that_keep_more_than_half_say_so():
    rows, labels = rows_of(0)
    near = feature_set(rows, labels, views_of(rows, 0)[:2], STRENGTHS[:2])
    found = critical_strength(near, AdvisorConfig(target=0.3))
    assert (found.value, found.low, found.high, found.status) == (None, STRENGTHS[1], None, Status.UNDECIDED)


def test_there_is_none_where_attention_does_not_see_the_classes():
    rows, labels = rows_of(0)
    shuffled = np.random.default_rng(0).permutation(labels)
    assert critical_strength(feature_set(rows, shuffled, views_of(rows, 0), STRENGTHS)) is None


def test_one_strength_is_no_curve():
    rows, labels = rows_of(0, 40)
    for features in (feature_set(rows, labels), feature_set(rows, labels, [rows], [0.0])):
        with pytest.raises(ValueError, match=r"^strengths: needs views at two or more"):
            critical_strength(features)
