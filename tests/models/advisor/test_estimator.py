"""The scikit-learn transformer: its own battery, and agreement with the stack."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from models.advisor.estimator import AttentionTransformer
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from tests.models.advisor.rows import rows_of


@parametrize_with_checks([AttentionTransformer(), AttentionTransformer(inverse_temperature=5.0, depth=2)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_rows_of_the_bank_become_what_the_stack_makes_of_them():
    rows, _ = rows_of(0, 30)
    found = AttentionTransformer(threshold=0.3, depth=3, center=False).fit_transform(rows)
    expected = AttentionStack(3, 0.3, normalize="input").tokens(torch.from_numpy(rows))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    found = AttentionTransformer(inverse_temperature=6.0, depth=3, center=False).fit_transform(rows)
    np.testing.assert_allclose(found, SoftmaxStack(3, 6.0)(torch.from_numpy(rows)), atol=1e-9)


def test_a_new_row_does_not_depend_on_its_company():
    rows, _ = rows_of(0, 30)
    new, _ = rows_of(1, 10)
    fitted = AttentionTransformer(threshold=0.2, depth=2).fit(rows)
    np.testing.assert_allclose(fitted.transform(new)[3], fitted.transform(new[3:4])[0], atol=1e-12)
    center = rows.mean(0)
    np.testing.assert_allclose(fitted.center_, center)
    far = 2 * center - new
    lonely = AttentionTransformer(threshold=0.999, depth=2).fit(rows).transform(far)
    expected = (far - center) / np.linalg.norm(far - center, axis=1, keepdims=True)
    np.testing.assert_allclose(lonely, expected, atol=1e-12, err_msg="rows without neighbors stay")


def test_a_bank_may_be_smaller_than_the_rows():
    rows, _ = rows_of(0, 30)
    fitted = AttentionTransformer(bank_size=5, random_state=3).fit(rows)
    assert fitted.bank_[0].shape == (5, 12)
    assert not np.allclose(fitted.bank_[0], AttentionTransformer(bank_size=5, random_state=4).fit(rows).bank_[0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"threshold": 1.0}, r"threshold: must lie in \[0, 1\)"),
        ({"inverse_temperature": 0.0}, r"inverse_temperature: must lie in \(0, 700\]"),
        ({"depth": 0}, "depth: must be a whole number of at least 1"),
        ({"mixing": 0.0}, r"mixing: must lie in \(0, 1\]"),
        ({"bank_size": 0}, "bank_size: must be a whole number of at least 1"),
        ({"random_state": -1}, "random_state: must be a whole number of at least 0"),
    ],
)
def test_parameters_are_refused_by_name(parameters, message):
    with pytest.raises(ValueError, match=message):
        AttentionTransformer(**parameters).fit(rows_of(0, 10)[0])


def test_not_before_it_is_fitted():
    with pytest.raises(NotFittedError):
        AttentionTransformer().transform(rows_of(0, 10)[0])
