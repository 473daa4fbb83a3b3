import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import torch

from models import stack as stack_module
from models import tiled
from models.attention import Attention, TransFusionBlock
from models.stack import AttentionStack
from tests.reference import components
from tests.stand_in import ACCELERATORS, DEVICE, PretendDevice, accelerator
from theory.batches.clusters import cluster_layout
from theory.batches.tiled_measurements import count_fragments

COUNTS = ("false_edges", "fragments", "isolated")
FIELDS = ("alpha", "beta", "sharpness_min", "sharpness_mean", "sharpness_error", "axis_product", *COUNTS)


def batch(trials=2, sizes=(7, 2, 5, 3), dim=6, noise=0.5, seed=0, shuffled=True):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(dim)[labels] + noise * rng.standard_normal((trials, len(labels), dim))
    order = rng.permutation(len(labels)) if shuffled else np.arange(len(labels))
    return torch.from_numpy(points[:, order]), labels[order]


def assert_same(measured, expected):
    for name in FIELDS:
        tolerance = 0 if name in COUNTS else 1e-12
        np.testing.assert_allclose(
            getattr(measured, name), getattr(expected, name), rtol=0, atol=tolerance, err_msg=name
        )


def stacks(tile_rows, *arguments, kind=AttentionStack, **options):
    return kind(*arguments, **options), kind(*arguments, **options, tile_rows=tile_rows)


VARIANTS = {
    "plain": {},
    "mapped": {"query_key_map": torch.from_numpy(np.random.default_rng(5).standard_normal((4, 6))), "condition": 9.0},
    "unit inputs": {"normalize": "input"},
    "unit tokens": {"normalize": "every"},
    "bias": {"normalize": "every", "bias_form": True},
    "squared": {"power": 2.0},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("tile_rows", [5, 1000, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (1, 16))])
def test_tiled_measurements_are_the_dense_ones(tile_rows, options):
    reached = dict.fromkeys(COUNTS, 0)
    for noise, threshold in ((0.05, 0.4), (0.6, 1e-6), (0.6, 0.6), (3.0, 0.8)):
        points, labels = batch(noise=noise)
        dense, tiles = stacks(tile_rows, 2, threshold, 0.7, **options)
        expected = dense.measure(points, labels)
        assert_same(tiles.measure(points, labels), expected)
        torch.testing.assert_close(tiles(points), dense(points), rtol=0, atol=1e-12)
        torch.testing.assert_close(tiles.tokens(points), dense.tokens(points), rtol=0, atol=1e-12)
        for name in COUNTS:
            reached[name] = max(reached[name], getattr(expected, name).max())
    assert reached["false_edges"] > 10, "false edges, fragments and rows without neighbours should be reached"
    assert reached["fragments"] > 2
    assert reached["isolated"] > 2


def test_thresholds_and_mixings_of_their_own():
    points, labels = batch(3)
    threshold, mixing = torch.tensor([0.1, 0.4, 0.7])[:, None, None], torch.tensor([0.3, 0.5, 1.0])[:, None, None]
    dense, tiles = stacks(4, 2, threshold.double(), mixing.double())
    assert_same(tiles.measure(points, labels), dense.measure(points, labels))
    torch.testing.assert_close(tiles.tokens(points), dense.tokens(points), rtol=0, atol=1e-12)


def gradients(stack, points, weights):
    x = points.clone().requires_grad_()
    (stack.tokens(x) * weights).sum().backward()
    return [x.grad, *(p.grad for p in stack.parameters() if p.grad is not None)]


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(("threshold", "leading"), [(0.3, 0), (0.0, 1), (0.8, 1), (0.3, 2)])
def test_tiled_gradients_are_the_dense_ones(threshold, leading, options):
    points, _ = batch(seed=3)
    points = (points[0], points, points[None])[leading]
    threshold = threshold or (1e-6 if "bias_form" in options else 0.0)
    weights = torch.from_numpy(np.random.default_rng(4).standard_normal(points.shape))
    dense, tiles = (gradients(s, points, weights) for s in stacks(5, 2, threshold, 0.7, **options))
    assert len(dense) == len(tiles) == (3 if "bias_form" in options else 1)
    for a, b in zip(tiles, dense):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11 * float(dense[0].abs().max()))


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("order", [(1, 0, 2, 3), (0, 1, 3, 2), (3, 1, 0, 2), (2, 0, 3, 1)])
def test_axes_of_trials_may_lie_in_any_order_of_memory(order, options):
    points = torch.from_numpy(np.random.default_rng(8).standard_normal((2, 3, 13, 6)))
    back = tuple(np.argsort(order))
    permuted = points.permute(order).contiguous().permute(back)
    assert permuted.shape == points.shape
    assert not permuted.is_contiguous()
    weights = torch.from_numpy(np.random.default_rng(9).standard_normal(points.shape))
    for given in (permuted, permuted.transpose(0, 1)):
        own = weights if given is permuted else weights.transpose(0, 1)
        dense, tiles = (gradients(stack, given, own) for stack in stacks(5, 2, 0.2, 0.7, **options))
        for a, b in zip(tiles, dense, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11 * float(dense[0].abs().max()))


@pytest.mark.parametrize("options", [VARIANTS["plain"], VARIANTS["bias"]], ids=["plain", "bias"])
def test_gradients_are_right(options):
    """Against finite differences, rows without neighbours included."""
    points = batch(1, (4, 2, 3), 4, noise=0.6, seed=6)[0][0]
    for threshold in (0.1, 0.6):
        block = AttentionStack(1, threshold, 0.7, **options).blocks[0]
        _, mass = block.affinity(block.attend(points))
        assert threshold == 0.1 or (mass == 0).any()
        unit = points / points.norm(dim=-1, keepdim=True)
        assert torch.autograd.gradcheck(lambda x, b=block: tiled.mix_in_tiles(b, x, 5), unit.requires_grad_())


def test_gradients_reach_threshold_mixing_and_map():
    points = batch(seed=7)[0]
    matrix = VARIANTS["mapped"]["query_key_map"]

    def blocks(threshold, mixing, weight):
        block = TransFusionBlock()
        block.threshold, block.mixing, block.query_key_map = threshold, mixing, weight
        return block

    start = (torch.tensor([0.2, 0.4]).double()[:, None, None], torch.tensor([0.3, 0.9]).double()[:, None, None], matrix)
    results = []
    for move in (lambda block: block(points), lambda block: tiled.mix_in_tiles(block, points, 5)):
        given = [value.clone().requires_grad_() for value in start]
        (move(blocks(*given)) ** 2).sum().backward()
        results.append([value.grad for value in given])
    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-11)


class DiagonalKept(TransFusionBlock):
    def affinity(self, attention):
        raw = attention.cosines.sub(attention.cut).relu_()
        return raw, raw.sum(dim=-1)


class ThresholdIgnored(TransFusionBlock):
    def attend(self, points, tile=None):
        attention = super().attend(points, tile)
        return Attention(attention.cosines, 1e-10, attention.first_row)


class RowsNotNormalized(TransFusionBlock):
    def affinity(self, attention):
        raw, mass = super().affinity(attention)
        return raw, torch.ones_like(mass)


class ForgetsToMix(TransFusionBlock):
    def mix(self, points, affinity, row_mass, tile=None):
        return points if tile is None else points[..., tile.rows, :]


class OneFalseEdge(TransFusionBlock):
    """From the first point to the last, one way."""

    def affinity(self, attention):
        raw, _ = super().affinity(attention)
        raw = raw.clone()
        if attention.first_row == 0:
            raw[..., 0, -1] = 1e-3
        return raw, raw.sum(dim=-1)


@pytest.mark.parametrize("kind", [DiagonalKept, ThresholdIgnored, RowsNotNormalized, ForgetsToMix, OneFalseEdge])
def test_a_damaged_block_is_damaged_in_tiles_too(kind):
    points, labels = batch(noise=0.15, shuffled=False)
    damaged = type("Damaged", (AttentionStack,), {"block_type": kind})
    dense, tiles = stacks(5, 3, 0.5, kind=damaged)
    expected, measured = dense.measure(points, labels), tiles.measure(points, labels)
    assert_same(measured, expected)
    sound = AttentionStack(3, 0.5, tile_rows=5).measure(points, labels)
    assert any(np.abs(getattr(measured, f) - getattr(sound, f)).max() > 1e-4 for f in FIELDS), "not caught"
    weights = torch.from_numpy(np.random.default_rng(4).standard_normal(points.shape))
    for a, b in zip(*(gradients(stack, points, weights) for stack in (tiles, dense))):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_a_block_that_takes_no_tile_is_refused():
    class Whole(TransFusionBlock):
        def mix(self, points, affinity, row_mass):
            return points

    points, labels = batch()
    dense, tiles = stacks(5, 1, kind=type("Wholes", (AttentionStack,), {"block_type": Whole}))
    dense.measure(points, labels)
    for call in (lambda: tiles.measure(points, labels), lambda: tiles.tokens(points), lambda: tiles(points)):
        with pytest.raises(ValueError, match=r"block_type: .*mix takes no tile"):
            call()


def spans_of(edges):
    """Smallest and largest name among every row and those that it has an edge to."""
    seen = edges | np.eye(len(edges), dtype=bool)
    return lambda names: (np.where(seen, names, len(names)).min(1), np.where(seen, names, -1).max(1))


@pytest.mark.parametrize("density", [0.0, 0.02, 0.05, 0.3])
def test_fragments_in_rounds(density):
    """Edges are one way each, as a damaged block may have them."""
    rng = np.random.default_rng(int(1000 * density))
    sizes = (40, 9, 12)
    edges = rng.random((61, 61)) < density
    layout = cluster_layout(np.repeat([0, 1, 2], sizes))
    inside = [edges[rows, rows] for rows in layout.slices]
    spans = spans_of(scipy.linalg.block_diag(*inside))
    for clusters in ((0,), (1, 2), (0, 1, 2)):
        assert count_fragments(layout, clusters, spans) == max(components(inside[k]) for k in clusters)
    assert count_fragments(layout, (), spans) == 1


@pytest.mark.parametrize("missing", [False, True])
def test_a_chain_is_one_component_and_without_a_link_two(missing):
    size = 500
    order = np.random.default_rng(1).permutation(size)
    chain = np.zeros((size + 2, size + 2), dtype=bool)
    chain[order[:-1], order[1:]] = True
    chain[order[100], order[101]] = not missing
    rounds = []
    spans = spans_of(chain)
    layout = cluster_layout(np.repeat([0, 1], (size, 2)))
    assert count_fragments(layout, (0,), lambda names: (rounds.append(1), spans(names))[1]) == 1 + missing
    assert len(rounds) < 20, "components at least halve in every round"


def test_large_batches_are_tiled_and_small_ones_are_not(monkeypatch):
    points, labels = batch()
    calls = []
    for name in ("mix_in_tiles", "measure_in_tiles"):
        original = getattr(tiled, name)
        monkeypatch.setattr(stack_module, name, lambda *a, f=original, n=name, **k: (calls.append(n), f(*a, **k))[1])
    stack = AttentionStack(1, 0.2)
    stack.measure(points, labels), stack(points)
    assert not calls
    monkeypatch.setattr(stack_module, "CPU_DENSE_BYTES", points.shape[-2] ** 2 * 8 - 1)
    stack.measure(points, labels), stack(points)
    assert set(calls) == {"mix_in_tiles", "measure_in_tiles"}


def test_heights_of_tiles():
    for n, dtype in ((16, torch.float64), (4096, torch.float32), (65536, torch.float64)):
        rows = tiled.choose_tile_rows(torch.empty(n, 1, dtype=dtype))
        assert tiled.MIN_ROWS <= rows <= tiled.MAX_ROWS
        assert rows == tiled.MIN_ROWS or rows * n * dtype.itemsize <= tiled.CPU_TILE_BYTES
    assert [s.stop - s.start for s in tiled.row_tiles(10, 4)] == [4, 4, 2]
    for n, dtype in ((16, torch.float64), (4097, torch.float32), (65536, torch.float64)):
        side = tiled.choose_square_side(torch.empty(n, 1, dtype=dtype))
        assert side**2 * dtype.itemsize <= tiled.CPU_SQUARE_BYTES
        count = -(-n // side)
        assert 0 <= count * side - n < count, "the last square is about as large as the others"


@pytest.mark.parametrize("tile_rows", [0, -3, 2.5])
def test_bad_tile_rows_are_named(tile_rows, as_users_call):
    with pytest.raises(ValueError, match="tile_rows: must be a whole number of at least 1"):
        AttentionStack(1, tile_rows=tile_rows)


# One process a case: the peak of a process is that of everything it ever did (and ru_maxrss that of its parent too).
MEASURE = """
import re, sys, numpy as np, torch
from models.losses import affinity_jsd_from_points
from models.stack import AttentionStack
n, dim, work = int(sys.argv[1]), 16, sys.argv[2]
labels = np.repeat(np.arange(8), n // 8)
points = torch.from_numpy(np.eye(dim)[labels] + 0.3 * np.random.default_rng(0).standard_normal((n, dim))).float()
stack = AttentionStack(1, 0.5, dtype=torch.float32)
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
small = slice(0, n, 64)
for part in (small, slice(None)):
    before = peak()
    if work == "measure":
        stack.measure(points[None, part], labels[part])
    else:
        x = points[part].clone().requires_grad_()
        affinity_jsd_from_points(stack.tokens(x), labels[part], 0.5).backward()
        assert torch.isfinite(x.grad).all()
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("work", ["measure", "train"])
def test_no_matrix_of_all_pairs_is_formed(work):
    # Tiles, workspaces and libraries take 80 to 150 MB at any n: half of one matrix has to be well above.
    n = 12288
    run = subprocess.run([sys.executable, "-c", MEASURE, str(n), work], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 0.5 * n * n * 4, "half of one n x n float32 matrix"


@pytest.mark.parametrize("tile_rows", [3, 7, None])
@pytest.mark.parametrize("options", [VARIANTS["plain"], VARIANTS["bias"]], ids=["squares", "strips"])
def test_a_device_is_waited_for_once_a_layer(monkeypatch, options, tile_rows):
    """However many tiles there are; and once more for every round of a search that thin clusters need."""
    monkeypatch.setattr(stack_module, "GPU_DENSE_BYTES", 1)
    points, labels = batch(1, (9, 8, 12), noise=0.15)
    chains, _ = batch(1, (9, 8, 12), noise=0.6)
    expected = [AttentionStack(2, 0.5, tile_rows=5, **options).measure(each, labels) for each in (points, chains)]
    with PretendDevice() as log:
        stack = AttentionStack(2, 0.5, device=DEVICE, tile_rows=tile_rows, **options)
        for given, wanted, thin in zip((points, chains), expected, (False, True)):
            tokens, log.events[:] = given.to(DEVICE), []
            assert_same(stack.measure(tokens, labels), wanted)
            assert len([place for place in log.waits if " finish " in place or "as_numpy" in place]) == 3
            rounds = [place for place in log.waits if "_spans" in place]
            assert len(rounds) <= 12
            assert bool(rounds) == thin
            checks = [place for place in log.waits if "require" in place]
            assert len(log.waits) == 3 + len(rounds) + len(checks)
            assert len(log.uploads) == 1 + len(rounds), "the order of the rows, and the names of each round"
    assert (expected[0].fragments == 1).all()
    assert (expected[1].fragments > 1).any()


def test_half_a_layer_says_all_of_blocks_whose_steps_are_their_own():
    """In half precision too, whose sums over tiles are float32 as all that is computed of it."""
    block = TransFusionBlock(0.2)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        points, labels = batch(1, shuffled=False)
        projected = block.project(points.to(dtype))
        assert tiled.is_symmetric(block, projected)
        assert projected.keys.dtype == torch.promote_types(dtype, torch.float32)
        layout = cluster_layout(labels, points.shape[-2])
        found, moved = tiled.measure_in_tiles(block, points.to(dtype), layout, 5, True)
        wide = points.to(dtype).to(projected.keys.dtype)
        expected, wanted = tiled.measure_in_tiles(block, wide, layout, None, True)
        assert moved.dtype == wide.dtype
        torch.testing.assert_close(moved, wanted, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.sharpness_mean, expected.sharpness_mean, rtol=0, atol=1e-5)
    bias = TransFusionBlock(0.2, bias_form=True)
    assert not tiled.is_symmetric(bias, bias.project(batch()[0]))
    damaged = ForgetsToMix(0.2)
    assert not tiled.is_symmetric(damaged, damaged.project(batch()[0]))


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_an_accelerator_agrees_with_the_cpu(kind):
    points, labels = batch()
    weights = torch.ones_like(points)
    on_cpu = AttentionStack(3, 0.4, tile_rows=5)
    measured, expected = on_cpu.measure(points, labels), gradients(on_cpu, points, weights)[0]
    with accelerator(kind) as device:
        there = AttentionStack(3, 0.4, tile_rows=5, device=device)
        assert_same(there.measure(points, labels), measured)
        torch.testing.assert_close(gradients(there, points, weights.to(device))[0].cpu(), expected, rtol=0, atol=1e-11)
