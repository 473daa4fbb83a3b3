import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.feature_transform import (
    draw_beta,
    draw_partners,
    extrapolate_positives,
    interpolate_negatives,
    interpolate_positives,
)


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


def weights(*shape, low=0.0, seed=3):
    return low + torch.from_numpy(np.random.default_rng(seed).random(shape))


TRANSFORMS = [(extrapolate_positives, 1.0), (interpolate_positives, 0.0)]


@given(
    n=st.integers(1, 5),
    dim=st.integers(1, 6),
    nearness=st.floats(0, 1),
    seed=st.integers(0, 10**6),
    which=st.sampled_from(TRANSFORMS),
)
def test_scores_of_unit_features_follow_the_identity(n, dim, nearness, seed, which):
    transform, low = which
    queries = unit(random(n, dim, seed=seed))
    keys = unit(nearness * queries + (1.0001 - nearness) * random(n, dim, seed=seed + 1))
    weight = weights(n, low=low, seed=seed)
    scores = (queries * keys).sum(1)
    new_queries, new_keys = transform(queries, keys, weight)
    expected = scores + 2 * weight * (1 - weight) * (1 - scores)
    new_scores = (new_queries * new_keys).sum(1)
    torch.testing.assert_close(new_scores, expected, rtol=0, atol=1e-13)
    # Harder by extrapolation, easier by interpolation.
    change = new_scores - scores
    assert bool((change <= 1e-13).all() if low else (change >= -1e-13).all())


@pytest.mark.parametrize(("transform", "low"), TRANSFORMS)
@pytest.mark.parametrize("per_coordinate", [False, True])
def test_positives_are_their_loop(transform, low, per_coordinate):
    queries, keys = random(4, 3), random(4, 3, seed=1)
    weight = weights(*((4, 3) if per_coordinate else (4,)), low=low)
    new_queries, new_keys = transform(queries, keys, weight)
    for i in range(4):
        for c in range(3):
            w = float(weight[i, c] if per_coordinate else weight[i])
            q, k = float(queries[i, c]), float(keys[i, c])
            assert float(new_queries[i, c]) == pytest.approx(w * q + (1 - w) * k, rel=1e-13)
            assert float(new_keys[i, c]) == pytest.approx(w * k + (1 - w) * q, rel=1e-13)
    torch.testing.assert_close(new_queries + new_keys, queries + keys)


def test_ends_of_the_weights():
    queries, keys = unit(random(4, 3)), unit(random(4, 3, seed=1))
    one = torch.ones(4, dtype=torch.float64)
    for transform, weight, expected in (
        (extrapolate_positives, one, (queries, keys)),
        (interpolate_positives, one, (queries, keys)),
        (interpolate_positives, 0 * one, (keys, queries)),
        (interpolate_positives, one / 2, ((queries + keys) / 2,) * 2),
    ):
        torch.testing.assert_close(transform(queries, keys, weight), expected)
    worst = extrapolate_positives(queries, keys, 2 * one)
    scores = (queries * keys).sum(1)
    torch.testing.assert_close((worst[0] * worst[1]).sum(1), 5 * scores - 4)


@pytest.mark.parametrize("per_coordinate", [False, True])
def test_negatives_are_their_loop(per_coordinate):
    rows, weight = random(5, 3), weights(*((5, 3) if per_coordinate else (5,)))
    order = torch.tensor([2, 0, 1, 4, 3])
    mixed = interpolate_negatives(rows, weight, order)
    for i in range(5):
        for c in range(3):
            w = float(weight[i, c] if per_coordinate else weight[i])
            expected = w * float(rows[i, c]) + (1 - w) * float(rows[int(order[i]), c])
            assert float(mixed[i, c]) == pytest.approx(expected, rel=1e-13)
    assert torch.equal(interpolate_negatives(rows, torch.ones(5).double(), order), rows)
    assert torch.equal(interpolate_negatives(rows, torch.zeros(5).double(), order), rows[order])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_permutations_are_places_in_every_integer_type(dtype):
    """uint8 is a mask to torch, and one that picks a row that then stands for all passes without a word."""
    for values in ([1, 0], [1, 2, 0], [4, 0, 3, 1, 2]):
        rows, share = random(len(values), 4), weights(len(values))
        expected = torch.stack([w * z + (1 - w) * rows[p] for w, z, p in zip(share, rows, values)])
        found = interpolate_negatives(rows, share, torch.tensor(values, dtype=dtype))
        torch.testing.assert_close(found, expected)


def test_normalizing_is_an_option():
    queries, keys, order = unit(random(4, 3)), unit(random(4, 3, seed=1)), torch.tensor([1, 2, 3, 0])
    high, low = weights(4, low=1.0), weights(4)
    for plain, normalized in (
        (extrapolate_positives(queries, keys, high), extrapolate_positives(queries, keys, high, normalize=True)),
        (interpolate_positives(queries, keys, low), interpolate_positives(queries, keys, low, normalize=True)),
        (
            (interpolate_negatives(queries, low, order),),
            (interpolate_negatives(queries, low, order, normalize=True),),
        ),
    ):
        for a, b in zip(plain, normalized):
            assert (a.norm(dim=1) - 1).abs().max() > 1e-3
            torch.testing.assert_close(b, unit(a))


def test_gradients_pass_and_half_precision_is_widened():
    queries, keys, weight = random(3, 2).requires_grad_(), random(3, 2, seed=1).requires_grad_(), weights(3, low=1.0)
    assert torch.autograd.gradcheck(lambda q, k: extrapolate_positives(q, k, weight), (queries, keys))
    halves = [rows.detach().bfloat16() for rows in (queries, keys)]
    expected = extrapolate_positives(*(rows.double() for rows in halves), weight)
    for each, value in zip(extrapolate_positives(*halves, weight), expected):
        torch.testing.assert_close(each, value.float())


@pytest.mark.parametrize(("a", "b"), [(2.0, 2.0), (1.6, 1.6), (0.5, 0.5), (1.0, 3.0), (0.02, 0.01), (200.0, 50.0)])
def test_moments_of_beta(a, b):
    """Fixed seed and count; five standard errors of mean and variance, from closed forms of the central moments."""
    count = 20_000
    draws = draw_beta(a, b, (count,), torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    total = a + b
    mean, variance = a / total, a * b / (total**2 * (total + 1))
    excess = 6 * ((a - b) ** 2 * (total + 1) - a * b * (total + 2)) / (a * b * (total + 2) * (total + 3))
    assert draws.mean() == pytest.approx(mean, abs=5 * math.sqrt(variance / count))
    assert draws.var() == pytest.approx(variance, abs=5 * variance * math.sqrt((excess + 2) / count))
    skewness = 2 * (b - a) * math.sqrt(total + 1) / ((total + 2) * math.sqrt(a * b))
    third = ((draws - mean) ** 3).mean()
    spread = ((draws - mean) ** 3).std() / math.sqrt(count)
    assert third == pytest.approx(skewness * variance**1.5, abs=5 * spread)


def test_uniform_draws_are_beta_of_ones():
    draws = np.sort(draw_beta(1, 1, (4000,), torch.Generator().manual_seed(1), dtype=torch.float64).numpy())
    # Kolmogorov-Smirnov, level 1e-4: sqrt(ln(2/1e-4) / 2n).
    steps = np.arange(1, 4001) / 4000
    assert max(np.abs(steps - draws).max(), np.abs(steps - 1 / 4000 - draws).max()) < math.sqrt(math.log(2e4) / 8000)


def test_small_parameters_leave_half_of_the_draws_at_each_end():
    """Gamma draws themselves underflow here, and 0 / 0 would be NaN or one half."""
    draws = draw_beta(1e-4, 1e-4, (400,), torch.Generator().manual_seed(0))
    ends = (draws < 1e-3) | (draws > 1 - 1e-3)
    assert bool(ends.float().mean() > 0.97)
    assert 140 < int((draws > 0.5).sum()) < 260


def test_draws_come_from_the_generator_alone():
    state = torch.get_rng_state()
    first, same, other = (draw_beta(2, 2, (3, 4), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == (3, 4)
    assert first.dtype == torch.float32
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert len(first.unique()) == 12
    assert draw_beta(2, 2, (), torch.Generator()).shape == ()


@given(count=st.integers(2, 40), seed=st.integers(0, 10**6))
def test_partners_are_others_and_one_cycle(count, seed):
    partners = draw_partners(count, torch.Generator().manual_seed(seed)).tolist()
    visited, at = [], 0
    for _ in range(count):
        visited.append(at)
        at = partners[at]
    assert at == 0
    assert sorted(visited) == list(range(count))
    assert partners == draw_partners(count, torch.Generator().manual_seed(seed)).tolist()


def test_partners_are_uniform_among_cycles():
    generator, seen = torch.Generator().manual_seed(0), {}
    for _ in range(1200):
        cycle = tuple(draw_partners(4, generator).tolist())
        seen[cycle] = seen.get(cycle, 0) + 1
    # 3! cycles of four, 200 each in the mean with a spread of 13.
    assert len(seen) == 6
    assert all(135 < count < 265 for count in seen.values())


Q, K, ORDER, G = random(4, 3), random(4, 3, seed=1), torch.tensor([1, 2, 3, 0]), torch.Generator()
HIGH, LOW = weights(4, low=1.0), weights(4)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: extrapolate_positives(Q, K[:3], HIGH), "keys"),
        (lambda: extrapolate_positives(Q[0], K[0], HIGH), "queries"),
        (lambda: extrapolate_positives(Q[:0], K[:0], HIGH[:0]), "queries"),
        (lambda: extrapolate_positives(Q, math.nan * K, HIGH), "keys"),
        (lambda: extrapolate_positives(Q, K, HIGH[:3]), "weights"),
        (lambda: extrapolate_positives(Q, K, HIGH[:, None]), "weights"),
        (lambda: extrapolate_positives(Q, K, LOW), "weights"),
        (lambda: extrapolate_positives(Q, K, HIGH + 1), "weights"),
        (lambda: extrapolate_positives(Q, K, torch.where(ORDER == 2, math.nan, HIGH)), "weights"),
        (lambda: interpolate_positives(Q, K, HIGH), "weights"),
        (lambda: interpolate_positives(Q, -Q, 0 * LOW + 0.5, normalize=True), "queries"),
        (lambda: interpolate_negatives(Q, HIGH, ORDER), "weights"),
        (lambda: interpolate_negatives(Q[:0], LOW[:0], ORDER[:0]), "negatives"),
        (lambda: interpolate_negatives(Q, LOW, ORDER[:3]), "permutation"),
        (lambda: interpolate_negatives(Q, LOW, ORDER.double()), "permutation"),
        (lambda: interpolate_negatives(Q, LOW, ORDER + 1), "permutation"),
        (lambda: interpolate_negatives(Q, LOW, ORDER.clamp_min(1)), "permutation"),
        (lambda: draw_beta(0, 1, (2,), G), "a"),
        (lambda: draw_beta(1, 1, (2,), G, torch.int64), "dtype"),
        (lambda: draw_beta(1, -1, (2,), G), "b"),
        (lambda: draw_beta(1, math.inf, (2,), G), "b"),
        (lambda: draw_partners(1, G), "count"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=f"^{names}:"):
        call()
