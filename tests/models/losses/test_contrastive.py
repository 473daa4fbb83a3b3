import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.losses import contrastive, nt_xent, supcon, view_pair_labels
from models.stack import CPU_DENSE_BYTES
from tests import reference_losses
from tests.stand_in import ACCELERATORS, accelerator


def random(*shape, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def views(n=5, dim=4, seed=0):
    return random(n, dim, seed=seed), random(n, dim, seed=seed + 100)


LABELS = np.array([3, -1, 3, 7, 7, 3, 20, 7, 7])  # -1 and 20 occur once


@pytest.mark.parametrize("tile_rows", [None, 1, 3, 100])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 3])
def test_both_losses_are_their_double_loops(temperature, normalize, tile_rows):
    options = {"normalize": normalize, "tile_rows": tile_rows}
    a, b = views()
    expected = reference_losses.nt_xent(a.numpy(), b.numpy(), temperature, normalize)
    assert float(nt_xent(a, b, temperature, **options)) == pytest.approx(expected, rel=1e-12)
    x = random(len(LABELS), 3)
    expected = reference_losses.supcon(x.numpy(), LABELS, temperature, normalize)
    assert float(supcon(x, LABELS, temperature, **options)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tile_rows", [None, 4])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_closed_forms(temperature, tile_rows):
    n, t = 6, temperature
    options = {"temperature": t, "tile_rows": tile_rows}
    collapsed = torch.ones(n, 3, dtype=torch.float64)
    assert float(nt_xent(collapsed, collapsed, **options)) == pytest.approx(math.log(2 * n - 1), rel=1e-12)
    orthonormal = torch.eye(n, dtype=torch.float64)
    expected = math.log1p((2 * n - 2) * math.exp(-1 / t))
    assert float(nt_xent(orthonormal, 3 * orthonormal, **options)) == pytest.approx(expected, abs=1e-14)
    assert float(nt_xent(orthonormal[:1], -orthonormal[:1], **options)) == 0.0


@pytest.mark.parametrize("tile_rows", [None, 4])
@pytest.mark.parametrize(("classes", "m"), [(2, 2), (3, 4), (5, 3)])
def test_supcon_on_a_simplex(classes, m, tile_rows):
    t = 0.3
    corners = torch.eye(classes, dtype=torch.float64) - 1 / classes
    labels = np.tile(np.arange(classes), m)
    inner, outer = (m - 1) * math.exp(1 / t), m * (classes - 1) * math.exp(-1 / (t * (classes - 1)))
    value = supcon(corners[torch.from_numpy(labels)], labels, t, tile_rows=tile_rows)
    assert float(value) == pytest.approx(-1 / t + math.log(inner + outer), rel=1e-12)


def test_view_pair_labels(as_users_call):
    assert view_pair_labels(3).tolist() == [0, 1, 2, 0, 1, 2]
    assert view_pair_labels(2, 3).tolist() == [0, 1, 0, 1, 0, 1]
    for arguments, name in (((0,), "num_samples"), ((2, 0), "views"), ((1.5,), "num_samples")):
        with pytest.raises(ValueError, match=name):
            view_pair_labels(*arguments)


def test_labels_of_any_kind():
    x = random(len(LABELS), 3)
    expected = supcon(x, LABELS)
    for labels in (
        torch.from_numpy(LABELS),
        torch.from_numpy(LABELS).int(),
        LABELS.astype(np.int8),
        LABELS[::-1][::-1],
    ):
        assert torch.equal(supcon(x, labels), expected)
    seven = LABELS == 7
    assert torch.equal(supcon(x, seven), supcon(x, seven.astype(int)))


@pytest.mark.parametrize("tile_rows", [None, 4])
@pytest.mark.parametrize("normalize", [True, False])
def test_gradients_are_finite_differences(normalize, tile_rows):
    a, b = views(4, 3)
    options = {"normalize": normalize, "tile_rows": tile_rows}
    check = torch.autograd.gradcheck
    assert check(lambda a, b: nt_xent(a, b, 0.5, **options), (a.requires_grad_(), b.requires_grad_()))
    assert check(lambda x: supcon(x, LABELS, 0.4, **options), (random(len(LABELS), 3).requires_grad_(),))


def value_and_gradient(loss, x):
    x = x.clone().requires_grad_()
    value = loss(x)
    value.backward()
    return value.detach(), x.grad


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("tile_rows", [1, 7, 64, 1000])
def test_tiles_are_the_whole_matrix(tile_rows, dtype, tolerance, normalize):
    labels = np.random.default_rng(1).integers(0, 30, 70)
    x = random(70, 5, dtype=dtype)
    dense = value_and_gradient(lambda x: supcon(x, labels, 0.2, normalize=normalize), x)
    tiled = value_and_gradient(lambda x: supcon(x, labels, 0.2, normalize=normalize, tile_rows=tile_rows), x)
    assert dense[1].abs().max() > 1e-3
    torch.testing.assert_close(tiled, dense, rtol=tolerance, atol=tolerance)


def saved_entries(loss):
    """Entries of the largest tensor that a loss keeps for its backward pass."""
    return max(each.numel() for each in loss.grad_fn.saved_tensors)


def test_large_batches_go_in_tiles_and_small_ones_do_not(monkeypatch):
    used = []
    tiles = contrastive.row_tiles
    monkeypatch.setattr(contrastive, "row_tiles", lambda n, rows: used.append(rows) or tiles(n, rows))
    largest = math.isqrt(CPU_DENSE_BYTES // 4)
    for n, tiled in ((largest, False), (largest + 1, True)):
        used.clear()
        x = random(n, 2, dtype=torch.float32).requires_grad_()
        supcon(x, np.arange(n) // 2, normalize=False)
        assert bool(used) == tiled
        kept = saved_entries(supcon(x, np.arange(n) // 2)) > 2 * n
        assert kept != tiled, "tiles are kept where matrices would fit"


def test_a_temperature_that_is_not_mild_goes_the_other_way():
    """exp(C/t) would overflow, or its inverse vanish; the loss is the same on both sides of the border."""
    x = random(6, 3, dtype=torch.float32)
    border = 4.0 / math.log(torch.finfo(torch.float32).max)
    for temperature in (border * 0.999, border * 1.001, 0.01, 1e-3):
        y = x.clone().requires_grad_()
        value = supcon(y, [0, 1, 2, 0, 1, 2], temperature)
        value.backward()
        expected = value_and_gradient(lambda z, t=temperature: supcon(z, [0, 1, 2, 0, 1, 2], t), x.double())
        assert ("UnitContrast" in type(value.grad_fn).__name__) == (temperature > border)
        torch.testing.assert_close((value.double(), y.grad.double()), expected, rtol=1e-4, atol=1e-4)


# A process of its own: the peak of a process is that of everything it ever did.
MEASURE = """
import re, torch
from models.losses import supcon
n = 8192
torch.set_num_threads(1)
x = torch.randn(n, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
supcon(x[:256], torch.arange(256) % 128, tile_rows=64).backward()
before = peak()
supcon(x, torch.arange(n) % (n // 2), tile_rows=64).backward()
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_of_large_batches():
    """A quarter of one n x n matrix is plenty for tiles of 2 MiB and what is made of one."""
    result = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 4 * 8192**2 / 4


@pytest.mark.parametrize("tile_rows", [None, 5])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype, normalize, tile_rows):
    a, b = random(8, 16).to(dtype), random(8, 16, seed=1).to(dtype)
    options = {"temperature": 0.05, "normalize": normalize, "tile_rows": tile_rows}

    for loss in (
        lambda views: nt_xent(*views, **options),
        lambda views: supcon(views.flatten(0, 1), np.arange(16) % 3, **options),
    ):
        half = value_and_gradient(loss, torch.stack([a, b]))
        full = value_and_gradient(loss, torch.stack([a, b]).float())
        assert half[0].dtype == torch.float32
        assert half[1].dtype == dtype
        torch.testing.assert_close(half[0], full[0])
        assert torch.isfinite(half[1]).all()
        # The gradient is rounded to the input's dtype once.
        torch.testing.assert_close(half[1].float(), full[1], rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("tile_rows", [None, 5])
def test_autocast_changes_nothing(tile_rows):
    x, labels = random(12, 8, dtype=torch.float32), np.arange(12) % 3
    plain = value_and_gradient(lambda x: supcon(x, labels, 0.05, tile_rows=tile_rows), x)
    y = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = supcon(y, labels, 0.05, tile_rows=tile_rows)
    value.backward()
    torch.testing.assert_close((value.detach(), y.grad), plain, rtol=0, atol=0)


@pytest.mark.parametrize("tile_rows", [None, 4])
def test_gradients_stay_finite_where_rows_are_equal_or_alone(tile_rows):
    equal = torch.ones(6, 3)
    for normalize in (True, False):
        value, gradient = value_and_gradient(
            lambda x, n=normalize: nt_xent(x[:3], x[3:], 0.05, normalize=n, tile_rows=tile_rows), equal
        )
        assert torch.isfinite(gradient).all()
        assert float(value) == pytest.approx(math.log(5), abs=1e-5)
    value, gradient = value_and_gradient(lambda x: supcon(x, [0, 0, 1, 2, 3, 4], tile_rows=tile_rows), random(6, 3))
    assert torch.isfinite(gradient).all()
    assert bool((gradient.abs().sum(1) > 0).all()), "rows that are alone are still somebody's negatives"


def test_other_library():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    n = 128
    a, b = random(n, 16), random(n, 16, seed=1)
    both, labels = torch.cat([a, b]), view_pair_labels(n)
    for t in (0.07, 0.5):
        torch.testing.assert_close(nt_xent(a, b, t), losses.NTXentLoss(temperature=t)(both, labels), rtol=1e-10, atol=0)
        classes = torch.arange(2 * n) % 10
        other = losses.SupConLoss(temperature=t)(both, classes)
        torch.testing.assert_close(supcon(both, classes, t), other, rtol=1e-10, atol=0)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 8), dim=st.integers(1, 6), temperature=st.floats(0.05, 5.0))
def test_invariances(seed, n, dim, temperature):
    rng = np.random.default_rng(seed)
    a, b = views(n, dim, seed)
    value = float(nt_xent(a, b, temperature))
    assert 0.0 <= value <= math.log1p((2 * n - 2) * math.exp(2 / temperature)) + 1e-12
    same = pytest.approx(value, rel=1e-10, abs=1e-12)
    assert float(nt_xent(b, a, temperature)) == same
    turn = torch.from_numpy(np.linalg.qr(rng.standard_normal((dim, dim)))[0])
    assert float(nt_xent(a @ turn, b @ turn, temperature)) == same
    scales = torch.from_numpy(rng.uniform(0.1, 10.0, (n, 1)))
    assert float(nt_xent(a * scales, b / scales, temperature)) == same
    order = torch.from_numpy(rng.permutation(n))
    assert float(nt_xent(a[order], b[order], temperature)) == same
    x, labels = torch.cat([a, b]), rng.integers(0, n, 2 * n)
    labels[1] = labels[0]
    order = rng.permutation(2 * n)
    value = float(supcon(x, labels, temperature))
    same = pytest.approx(value, rel=1e-10, abs=1e-12)
    assert float(supcon(x[torch.from_numpy(order)], labels[order], temperature)) == same
    names = rng.permutation(n) - 3
    assert float(supcon(x, names[labels], temperature)) == same
    value = float(supcon(x, labels, temperature, normalize=False))
    assert float(supcon(x @ turn, labels, temperature, normalize=False)) == pytest.approx(value, rel=1e-10, abs=1e-10)
    scaled = supcon(2.0 * x, labels, 4.0 * temperature, normalize=False)
    assert float(scaled) == pytest.approx(value, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda a, b: nt_xent(a * math.nan, b), "view_a: contains NaN"),
        (lambda a, b: nt_xent(a, b / 0.0), "view_b: contains NaN or inf"),
        (lambda a, b: nt_xent(a, 0 * b), "view_b: contains a zero vector"),
        (lambda a, b: nt_xent(a, b[:-1]), "view_b: must have the shape of view_a"),
        (lambda a, b: nt_xent(a[:0], b[:0]), "view_a: must have at least 1"),
        (lambda a, b: nt_xent(a[0], b[0]), "view_a: expected shape"),
        (lambda a, b: nt_xent(a.long(), b.long()), "view_a: expected a floating"),
        (lambda a, b: nt_xent(a, b, 0.0), "temperature"),
        (lambda a, b: nt_xent(a, b, -0.5), "temperature"),
        (lambda a, b: nt_xent(a, b, math.nan), "temperature"),
        (lambda a, b: nt_xent(a.float(), b.float(), 1e-39), "temperature"),
        (lambda a, b: nt_xent(a * 1e160, b, normalize=False), "temperature"),
        (lambda a, b: nt_xent(a, b, tile_rows=0), "tile_rows"),
        (lambda a, b: supcon(a * math.inf, range(5)), "features: contains NaN"),
        (lambda a, b: supcon(0 * a, [0] * 5), "features: contains a zero vector"),
        (lambda a, b: supcon(a[:1], [0]), "features: must have at least 2"),
        (lambda a, b: supcon(a, np.zeros(4, int)), r"labels: expected integers of shape \(5,\)"),
        (lambda a, b: supcon(a, np.zeros((5, 1), int)), "labels: expected integers"),
        (lambda a, b: supcon(a, np.zeros(5)), "labels: expected integers"),
        (lambda a, b: supcon(a, torch.arange(5)), "labels: some label must occur"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call(*views())


def test_zero_vectors_are_fine_where_nothing_is_normalized():
    x = torch.zeros(4, 3, dtype=torch.float64)
    assert float(supcon(x, [0, 0, 1, 1], normalize=False)) == pytest.approx(math.log(3))


@pytest.mark.parametrize("kind", ACCELERATORS)
@pytest.mark.parametrize("tile_rows", [None, 4])
def test_an_accelerator_agrees_with_the_cpu(kind, tile_rows):
    x = random(len(LABELS), 3)
    on_cpu = value_and_gradient(lambda x: supcon(x, LABELS, tile_rows=tile_rows), x)
    with accelerator(kind) as device:
        there = value_and_gradient(lambda x: supcon(x, LABELS, tile_rows=tile_rows), x.to(device))
        torch.testing.assert_close(tuple(each.cpu() for each in there), on_cpu, rtol=0, atol=1e-12)
