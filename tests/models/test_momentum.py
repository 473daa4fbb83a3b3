import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.momentum import FeatureQueue, MomentumCopy, moco_loss


def random(*shape, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)).double()


def test_updates_are_an_exponential_moving_average():
    """After updates to w_1..w_T: m^T w_0 + (1 - m) sum_t m^(T-t) w_t."""
    module, m = network(), 0.8
    slow = MomentumCopy(module, m)
    history = [[parameter.detach().clone() for parameter in module.parameters()]]
    for step in range(4):
        with torch.no_grad():
            for index, parameter in enumerate(module.parameters()):
                parameter += random(*parameter.shape, seed=10 * step + index)
        history.append([parameter.detach().clone() for parameter in module.parameters()])
        slow.update(module)
    weights = [m**4] + [(1 - m) * m ** (4 - t) for t in range(1, 5)]
    for index, parameter in enumerate(slow.module.parameters()):
        expected = sum(weight * values[index] for weight, values in zip(weights, history))
        torch.testing.assert_close(parameter, expected, rtol=1e-13, atol=1e-13)


def test_momentum_of_one_stays_and_of_zero_follows_and_equal_is_kept():
    module, other = network(0), network(1)
    slow = MomentumCopy(module, 1.0)
    slow.update(other)
    assert all(torch.equal(a, b) for a, b in zip(slow.module.parameters(), module.parameters()))
    slow.update(other, momentum=0.0)
    assert all(torch.equal(a, b) for a, b in zip(slow.module.parameters(), other.parameters()))
    slow.update(other, momentum=0.3)
    assert all(torch.equal(a, b) for a, b in zip(slow.module.parameters(), other.parameters()))


def test_buffers_are_copied():
    module = network()
    slow = MomentumCopy(module, 0.9)
    module(random(6, 3))
    slow(random(4, 3, seed=1))
    slow(random(4, 3, seed=2))
    assert slow.module[1].num_batches_tracked == 2, "in training mode the copy keeps statistics of its own"
    slow.update(module)
    mine, theirs = dict(slow.module.named_buffers()), dict(module.named_buffers())
    assert len(theirs) == 3
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    module(random(6, 3))
    assert mine["1.num_batches_tracked"] == 1, "copied, not shared"


def test_the_copy_is_apart_from_the_module_and_outside_the_graph():
    module, x = network(), random(4, 3)
    module(x).sum().backward()
    slow = MomentumCopy(module)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in slow.parameters())
    assert all(parameter.requires_grad and parameter.grad is not None for parameter in module.parameters())
    assert torch.equal(slow(x), module(x))
    assert not slow(x.clone().requires_grad_()).requires_grad
    before = copy.deepcopy(slow.state_dict())
    with torch.no_grad():
        module[0].weight.add_(1)
    assert torch.equal(slow.module[0].weight, before["module.0.weight"])
    slow.update(module)
    assert not any(parameter.requires_grad for parameter in slow.parameters())
    slow.eval()
    assert not slow.module.training
    assert module.training


def test_other_memory_formats_are_averaged_too():
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3)
    slow = MomentumCopy(module, 0.5)
    old = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(random(*module.weight.shape).float())
    module.to(memory_format=torch.channels_last)
    slow.update(module)
    torch.testing.assert_close(slow.module.weight, 0.5 * old + 0.5 * module.weight)


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


@settings(max_examples=60)
@given(
    size=st.integers(1, 7),
    lengths=st.lists(st.integers(0, 17), max_size=6),
    reload=st.integers(0, 6),
    seed=st.integers(0, 10**6),
)
def test_the_queue_holds_the_newest(size, lengths, reload, seed):
    """Against a list that is cut from the front; at some point the queue is saved and goes on as a new one."""
    queue, expected = FeatureQueue(size, 3, torch.float64), torch.empty(0, 3, dtype=torch.float64)
    for index, length in enumerate(lengths):
        if index == reload:
            saved = io.BytesIO()
            torch.save(queue.state_dict(), saved)
            saved.seek(0)
            queue = FeatureQueue(size, 3, torch.float64)
            queue.load_state_dict(torch.load(saved, weights_only=True))
        batch = random(length, 3, seed=seed + index)
        queue.enqueue(batch)
        expected = torch.cat([expected, unit(batch)])[-size:]
        assert len(queue) == len(expected)
        torch.testing.assert_close(queue.features(), expected, rtol=1e-13, atol=1e-13)


def test_a_resumed_queue_goes_on_exactly():
    first, second = FeatureQueue(5, 3), FeatureQueue(5, 3)
    first.enqueue(random(7, 3))
    second.load_state_dict(first.state_dict())
    for queue in (first, second):
        queue.enqueue(random(4, 3, seed=1))
    assert torch.equal(first.rows, second.rows)
    assert torch.equal(first.features(), second.features())
    nested, again = nn.ModuleDict({"queue": first}), nn.ModuleDict({"queue": FeatureQueue(5, 3)})
    again.load_state_dict(nested.state_dict())
    assert torch.equal(again["queue"].features(), first.features())


def test_an_empty_queue_has_no_negatives():
    queue = FeatureQueue(5, 3)
    assert queue.features().shape == (0, 3)
    assert float(moco_loss(random(4, 3), random(4, 3, seed=1), queue.features())) == 0.0


def test_the_queue_survives_backward_after_enqueue_and_keeps_no_graph():
    queue, queries, keys = FeatureQueue(4, 3, torch.float64), random(2, 3).requires_grad_(), random(2, 3, seed=1)
    queue.enqueue(random(6, 3, seed=2))
    negatives = queue.features()
    held = negatives.clone()
    loss = moco_loss(queries, keys, negatives)
    queue.enqueue(random(3, 3, seed=3).requires_grad_())
    assert torch.equal(negatives, held)
    loss.backward()
    assert not queue.features().requires_grad


def test_half_precision_is_normalized_in_float32():
    queue, rows = FeatureQueue(4, 300), random(3, 300, dtype=torch.bfloat16)
    queue.enqueue(rows)
    torch.testing.assert_close(queue.features(), unit(rows.float()), rtol=1e-6, atol=1e-7)


def loop(queries, keys, negatives, temperature):
    total = 0.0
    for query, key in zip(queries.numpy(), keys.numpy()):
        scores = [float(query @ key) / temperature, *(float(query @ row) / temperature for row in negatives.numpy())]
        total -= math.log(math.exp(scores[0]) / sum(math.exp(score) for score in scores))
    return total / len(queries)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 2])
def test_the_loss_is_its_loop(temperature):
    queries, keys, negatives = (random(n, 4, seed=seed) for n, seed in ((5, 0), (5, 1), (7, 2)))
    value = moco_loss(queries, keys, negatives, temperature, normalize=False)
    assert float(value) == pytest.approx(loop(queries, keys, negatives, temperature), rel=1e-12)
    value = moco_loss(queries, keys, negatives, temperature)
    expected = loop(unit(queries), unit(keys), unit(negatives), temperature)
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_closed_forms():
    ones, t = torch.ones(6, 3, dtype=torch.float64), 0.3
    queries, keys = random(6, 3).requires_grad_(), random(6, 3, seed=1)
    alone = moco_loss(queries, keys, ones[:0], t)
    alone.backward()
    assert float(alone.detach()) == 0.0
    assert not queries.grad.any()
    for count in (1, 5):
        equal = moco_loss(ones, 2 * ones, 3 * ones[:count], t)
        assert float(equal) == pytest.approx(math.log(1 + count), rel=1e-12)
    orthonormal = torch.eye(9, dtype=torch.float64)
    apart = moco_loss(orthonormal[:2], orthonormal[:2], orthonormal[2:], t)
    assert float(apart) == pytest.approx(math.log1p(7 * math.exp(-1 / t)), rel=1e-12)
    opposite = moco_loss(orthonormal[:1], -orthonormal[:1], orthonormal[:1], t)
    assert float(opposite) == pytest.approx(math.log1p(math.exp(2 / t)), rel=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
def test_gradients_are_finite_differences(normalize):
    rows = [random(n, 3, seed=seed).requires_grad_() for n, seed in ((3, 0), (3, 1), (4, 2))]
    assert torch.autograd.gradcheck(lambda *rows: moco_loss(*rows, 0.5, normalize=normalize), rows)


def test_half_precision_is_computed_in_float32_under_autocast_too():
    rows = [random(n, 64, seed=seed, dtype=torch.bfloat16) for n, seed in ((8, 0), (8, 1), (500, 2))]
    expected = float(moco_loss(*(each.double() for each in rows), 0.07))
    assert float(moco_loss(*rows, 0.07)) == pytest.approx(expected, rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = moco_loss(*(each.float() for each in rows), 0.07)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_a_lower_temperature_does_not_overflow_until_it_must():
    rows = random(4, 3, dtype=torch.float32)
    assert math.isfinite(float(moco_loss(rows, rows, rows[:2], 1e-30)))
    with pytest.raises(ValueError, match=r"^temperature:"):
        moco_loss(rows, rows, rows[:2], 1e-39)


ROWS = random(4, 3)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: MomentumCopy(network(), 1.1), "momentum"),
        (lambda: MomentumCopy(network(), -0.1), "momentum"),
        (lambda: MomentumCopy(network().bfloat16()), "module"),
        (lambda: MomentumCopy(network()).update(network(), 2.0), "momentum"),
        (lambda: MomentumCopy(network()).update(network()[0]), "module"),
        (lambda: MomentumCopy(nn.Linear(2, 3)).update(nn.Linear(3, 3)), "module"),
        (lambda: MomentumCopy(nn.BatchNorm1d(3, track_running_stats=False)).update(nn.BatchNorm1d(3)), "module"),
        (lambda: FeatureQueue(0, 3), "size"),
        (lambda: FeatureQueue(3, 0), "dim"),
        (lambda: FeatureQueue(3, 2).enqueue(ROWS), "features"),
        (lambda: FeatureQueue(3, 3).enqueue(ROWS[0]), "features"),
        (lambda: FeatureQueue(3, 3).enqueue(0 * ROWS), "features"),
        (lambda: FeatureQueue(3, 3, torch.int64), "dtype"),
        (lambda: FeatureQueue(3, 3, torch.bool), "dtype"),
        (lambda: FeatureQueue(3, 3, torch.complex64), "dtype"),
        (lambda: FeatureQueue(3, 3).enqueue(math.nan * ROWS), "features"),
        (lambda: moco_loss(ROWS, ROWS[:3], ROWS), "keys"),
        (lambda: moco_loss(ROWS[:0], ROWS[:0], ROWS), "queries"),
        (lambda: moco_loss(ROWS, ROWS, ROWS[:, :2]), "negatives"),
        (lambda: moco_loss(ROWS, 0 * ROWS, ROWS), "keys"),
        (lambda: moco_loss(ROWS, ROWS, math.inf * ROWS), "negatives"),
        (lambda: moco_loss(ROWS, ROWS, ROWS, 0.0), "temperature"),
        (lambda: moco_loss(ROWS, ROWS, ROWS, math.nan), "temperature"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=f"^{names}:"):
        call()
