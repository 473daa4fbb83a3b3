"""One battery over theory/: what is no number, or out of range, is refused by name or has a finite right answer."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch

from tests.theory.hostile import CASES, EXEMPT, numeric_parameters
from theory.affinity import cosine_gram
from theory.batches.clusters import pair_counts
from theory.measurements import pair_extremes
from theory.noise_ceiling import gaussian_extremes, gaussian_separation
from theory.noise_free import equiangular_cosines
from theory.numerics.inputs import as_floats, as_sizes, require_count, require_range

pytestmark = pytest.mark.usefixtures("as_users_call")

# Its arguments are those of gaussian_floor, which makes of it what it says.
DEAR = {"batch_floor.gaussian_floor_certificate"}
QUICKLY = [pytest.param(case, marks=[pytest.mark.slow] * (case.name in DEAR)) for case in CASES]
HOSTILE = (
    math.nan, math.inf, -math.inf, -1, 0, 10**400, -(10**400), np.float64(1e300), True, "a", "0.5", None, 1j,
    ((1,), (1, 2)),
)  # fmt: skip


def numbers_in(result):
    """All numbers of a result, through tuples and dataclasses; None and objects have none."""
    if isinstance(result, tuple | list):
        return [number for each in result for number in numbers_in(each)]
    if dataclasses.is_dataclass(result):
        return numbers_in([getattr(result, f.name) for f in dataclasses.fields(result)])
    if isinstance(result, int | float | np.ndarray | np.generic | torch.Tensor):
        return np.ravel(np.asarray(result, dtype=float)).tolist()
    return []


def outcome(case, name, value):
    """What is wrong with the case's answer to this value, or None."""
    try:
        with np.errstate(all="ignore"):
            result = case.call(**{**case.accepted, name: value})
    except ValueError as error:
        # Where a range depends on a second argument, either may be named.
        named = re.match(r"\w+", str(error))
        return None if named and named[0] in case.accepted else f"{name}={value!r:.20}: {error}"
    except Exception as error:
        return f"{name}={value!r:.20}: {type(error).__name__} {error}"
    found = [x for x in numbers_in(result) if not (case.may_be_nan and math.isnan(x))]
    wrong = [x for x in found if not (math.isfinite(x) and case.low <= x <= case.high)]
    return f"{name}={value!r:.20} gives {wrong[:3]}" if wrong else None


def test_every_number_of_every_public_function_is_tried_or_exempt():
    tried = {case.name: set(case.numbers) for case in CASES}
    found = numeric_parameters()
    missing = {name: sorted(parameters - tried.get(name, set())) for name, parameters in found.items()}
    assert {name: left for name, left in missing.items() if left and name not in EXEMPT} == {}
    assert set(EXEMPT) <= set(found), "an exemption of something that is not there"
    assert not set(EXEMPT) & set(tried)


@pytest.mark.parametrize("case", QUICKLY, ids=lambda case: case.name)
def test_hostile_numbers_are_named_or_answered(case):
    wrong = [outcome(case, name, value) for name in case.numbers for value in HOSTILE]
    assert [message for message in wrong if message] == []


@pytest.mark.parametrize("case", QUICKLY, ids=lambda case: case.name)
def test_counts_of_eight_bits_are_the_same_counts(case):
    """NumPy's small integers wrap around at 256."""
    expected = numbers_in(case.call(**case.accepted))
    assert all(case.low <= x <= case.high for x in expected)
    for name in case.numbers:
        value = case.accepted[name]
        if isinstance(value, int) and value < 256:
            narrow = case.call(**{**case.accepted, name: np.uint8(value)})
            np.testing.assert_array_equal(numbers_in(narrow), expected)


# --- the checks themselves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, 2.5, "3", None, True, np.True_, 10**400, [3, 4], 1j, 1])
def test_no_counts(value):
    with pytest.raises(ValueError, match=r"^m: must be a whole number"):
        require_count(value, "m", 2)


def test_counts_of_any_type():
    for value in (3, 3.0, np.uint8(3), np.float16(3), torch.tensor(3), np.array(3)):
        assert require_count(value, "m", 2) == 3
        assert type(require_count(value, "m", 2)) is int
    with pytest.raises(ValueError, match=r"^m: must be a whole number in \[2, 10\], got 11"):
        require_count(11, "m", 2, 10)


@pytest.mark.parametrize(
    "sizes",
    [math.inf, [4, math.nan], 2**53 + 1, [4, 10**400], [], "8", [[4, 4]], [[4], [4, 4]], [4, 1], True, 2.5],
)
def test_no_cluster_sizes(sizes):
    with pytest.raises(ValueError, match=r"^cluster_size: every cluster needs"):
        as_sizes(sizes)


def test_cluster_sizes_of_any_type():
    for sizes in ([200, 201], (200.0, 201.0), np.array([200, 201], dtype=np.uint8), torch.tensor([200, 201])):
        found = as_sizes(sizes)
        assert found.dtype == np.int64
        assert (found**2).tolist() == [40000, 40401]


def test_ranges_of_any_type():
    for value in (0.5, np.float16(0.5), torch.tensor([0.5, 1.0], dtype=torch.bfloat16, requires_grad=True), [0.1, 1]):
        require_range(value, "x", 0.0, 1.0)
    for value in (10**400, "0.5", b"1", 1j, [[1], [1, 2]], None, object()):
        with pytest.raises(ValueError, match=r"^x: must lie in \[0, 1\]"):
            require_range(value, "x", 0.0, 1.0)
    with pytest.raises(ValueError, match=r"^x: expected numbers, got 10\^400"):
        as_floats(10**400, "x")


# --- right values -----------------------------------------------------------------------------------------------------


def test_pairs_of_huge_clusters_are_counted_exactly():
    size = 2**53
    assert pair_counts(np.array([size]), 3) == (3 * size * (size - 1) // 2, 3 * size * size)
    assert pair_counts(np.array([2, 3, 4]), 3) == (1 + 3 + 6, 6 + 8 + 12)
    within, cross = pair_counts(np.array([5, 5]), 2)
    assert (within, cross) == pair_counts(np.array([5]), 2) == (20, 25)


def test_huge_clusters_have_a_ceiling():
    """Squares of 5e9 do not fit 64 bits; the ceiling falls slowly as the clusters grow."""
    ceilings = [gaussian_separation(64, 2, size, 0.9, 0.0, 0.05) for size in (10**3, 5 * 10**9, 2**53)]
    assert all(high > 0.2 for high in ceilings)
    assert ceilings[0] > ceilings[1] > ceilings[2]
    assert gaussian_extremes(64, 2, (5 * 10**9, 5 * 10**9), 0.9, 0.0, 0.05, 0.3) == pytest.approx(
        gaussian_extremes(64, 2, 5 * 10**9, 0.9, 0.0, 0.05, 0.3)
    )


@pytest.mark.parametrize(
    ("within", "between", "sizes", "limit"),
    [
        (0.9, -1.0, 8, -(1 + 7 * 0.9) / 8),
        (0.5, -0.7, 4, -(1 + 3 * 0.5) / 4),
        (0.9, -0.95, (2, 200), -((0.95 * 0.9005) ** 0.5)),
    ],
)
def test_cosines_that_no_batch_has_are_refused(within, between, sizes, limit):
    """|sum of one cluster + sum of the other|^2 >= 0 gives the smallest cross cosine of two clusters."""
    with pytest.raises(ValueError, match=rf"^between: no batch .* \[{limit:.4g}, "):
        equiangular_cosines(within, between, sizes, 2)
    alpha, beta = equiangular_cosines(within, limit + 1e-12, sizes, 2)
    assert np.min(beta) >= -1.0 - 1e-9
    assert np.max(alpha) <= 1.0


def test_three_clusters_need_more_than_two():
    """All three cross cosines -.5 is the limit of points; -.6 is possible for two clusters only."""
    assert equiangular_cosines(1.0, -0.6, 4, 1)[1] == pytest.approx(-0.6)
    with pytest.raises(ValueError, match=r"^between: no batch .*3 clusters more"):
        equiangular_cosines([1.0] * 3, -0.6, 4, 1)
    assert equiangular_cosines([1.0] * 3, -0.5, 4, 1)[1][0, 1] == pytest.approx(-0.5)


def test_cross_cosines_are_symmetric():
    with pytest.raises(ValueError, match=r"^between: must be symmetric"):
        equiangular_cosines([0.9, 0.8], np.array([[0.9, 0.1], [0.2, 0.8]]), 4, 1)
    wrong = {"within": [0.9] * 4}, {"cluster_size": [4] * 4}, {"between": np.zeros((2, 3))}, {"between": np.zeros(3)}
    for bad in wrong:
        arguments = {"within": [0.9] * 3, "between": np.zeros((3, 3)), "cluster_size": [4, 4, 4], "layer": 1} | bad
        with pytest.raises(ValueError, match=r"^(within|between|cluster_size): expected"):
            equiangular_cosines(**arguments)


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
def test_points_of_extreme_norms_have_their_cosines(library):
    """Squares of 1e-200 vanish and those of 1e200 overflow; subnormal numbers have few digits, but these are exact."""
    directions = np.array([[3.0, 4.0], [4.0, 3.0], [-4.0, 3.0], [-3.0, 4.0]])
    expected = cosine_gram(directions)
    for scale in (5e-324, 1e-310, 1e-200, 1e200, 4e307):
        found = np.asarray(cosine_gram(library(scale * directions)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-15 if scale != 1e-310 else 1e-12)
        extremes = pair_extremes(library(scale * directions), np.array([0, 0, 1, 1]))
        np.testing.assert_allclose([float(v) for v in extremes], [0.96, 0.28], atol=1e-12)
