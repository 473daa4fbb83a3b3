import re

import numpy as np
import pytest
import torch

from models import stack as stack_module
from models.environment import resolve_device
from models.stack import AttentionStack
from models.tiled import mix_in_tiles
from synthetic.benchmark import obvious_trial
from tests.stand_in import ACCELERATORS, accelerator
from tests.strategies import labels_of
from theory.affinity import affinity_matrix

FIELDS = ("alpha", "beta", "sharpness_min", "sharpness_mean", "sharpness_error", "false_edges", "fragments", "isolated",
          "axis_product")  # fmt: skip


def batch(trials=5, sizes=(6, 3, 4), dim=7, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = labels_of(sizes)
    return np.eye(dim)[labels] + noise * rng.standard_normal((trials, len(labels), dim)), labels


@pytest.mark.parametrize("noise", [0.05, 0.3, 0.6, 3.0])
@pytest.mark.parametrize("threshold", [1e-6, 0.3, 0.8])
@pytest.mark.parametrize("shuffled", [False, True])
def test_measurements_are_the_obvious_loop(noise, threshold, shuffled):
    points, labels = batch(noise=noise)
    if shuffled:
        order = np.random.default_rng(1).permutation(len(labels))
        points, labels = points[:, order], labels[order]
    trajectory = AttentionStack(4, threshold, 0.5).measure(torch.from_numpy(points), labels)
    for trial, x in enumerate(points):
        for layer, expected in enumerate(obvious_trial(x, labels, threshold, 0.5, 4)):
            for name in FIELDS:
                assert getattr(trajectory, name)[layer, trial] == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.parametrize("tile_rows", [None, 3])
@pytest.mark.parametrize("offset", [-0.02, -1e-6, 1e-6, 0.02])
def test_edges_begin_at_the_cut(offset, tile_rows):
    """Two clusters on a circle. The closest cross pair, and then the only pair of a cluster, stands a little above or
    below the cut."""
    across, inside = np.cos(0.9), np.cos(0.4)
    angles = np.array([0.0, 0.4, 1.3, 1.7])
    points = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None])
    for cut, edges, pieces in ((across - offset, int(offset > 0), 1), (inside - offset, 0, 1 if offset > 0 else 2)):
        measured = AttentionStack(1, cut, tile_rows=tile_rows).measure(points, np.array([0, 0, 1, 1]))
        assert (measured.alpha[0, 0], measured.beta[0, 0]) == pytest.approx((inside, across), abs=1e-14)
        assert (measured.false_edges[0, 0], measured.fragments[0, 0]) == (edges, pieces)
        assert bool(measured.recovered[0, 0]) == (edges == 0 and pieces == 1)


@pytest.mark.parametrize(("gap", "separated"), [(-0.02, False), (-1e-9, False), (1e-9, True), (0.02, True)])
def test_separated_means_that_alpha_exceeds_beta(gap, separated):
    angles = np.array([0.0, 0.6, 1.2 + gap, 1.8 + gap])
    points = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None])
    assert AttentionStack(1, 0.1).measure(points, np.array([0, 0, 1, 1])).separated[0, 0] == separated


@pytest.mark.parametrize("tile_rows", [None, 5])
def test_every_block_mixes(tile_rows):
    """Layers 0..L, each by the obvious loop from the one before: depth L mixes L times and measures L + 1 layers."""
    points, labels = batch(trials=1, noise=0.2)
    stack = AttentionStack(3, 0.2, 0.3, tile_rows=tile_rows)
    tokens, alphas = points[0], []
    for _ in range(4):
        unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)
        alphas.append((unit @ unit.T)[labels[:, None] == labels].min())
        tokens = 0.7 * tokens + 0.3 * affinity_matrix(tokens, 0.2) @ tokens
    np.testing.assert_allclose(stack.measure(torch.from_numpy(points), labels).alpha[:, 0], alphas, atol=1e-12)
    assert len(set(np.round(alphas, 6))) == 4


def test_chunks_do_not_change_trials(monkeypatch):
    points, labels = batch(trials=7)
    threshold = torch.linspace(0.1, 0.6, 7)[:, None, None]
    whole = AttentionStack(3, threshold).measure(torch.from_numpy(points), labels)
    monkeypatch.setattr(stack_module, "CPU_CHUNK_BYTES", 1)
    single = AttentionStack(3, threshold).measure(torch.from_numpy(points), labels)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(whole, name), getattr(single, name), rtol=0, atol=1e-13)


@pytest.mark.parametrize("tile_rows", [None, 4])
def test_biases_of_each_trial_are_measured_in_chunks(tile_rows, monkeypatch):
    """In the bias form a threshold is a parameter, and each chunk needs its own share of that too."""
    points, labels = batch(trials=5)
    threshold, options = torch.linspace(0.1, 0.6, 5).double()[:, None, None], {"normalize": "every", "bias_form": True}
    monkeypatch.setattr(stack_module, "CPU_CHUNK_BYTES", 2 * 13 * 13 * 8)
    stack = AttentionStack(2, threshold, threshold + 0.3, tile_rows=tile_rows, **options)
    found = stack.measure(points, labels)
    for trial in range(5):
        tau = float(threshold[trial])
        alone = AttentionStack(2, tau, tau + 0.3, **options).measure(points[trial : trial + 1], labels)
        for name in FIELDS:
            np.testing.assert_allclose(
                getattr(found, name)[..., trial], getattr(alone, name)[..., 0], rtol=0, atol=1e-12
            )
    assert isinstance(stack.blocks[0].bias, torch.nn.Parameter)


@pytest.mark.parametrize("options", [{}, {"normalize": "every"}, {"tile_rows": 4}])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("name", ["threshold", "mixing"])
def test_other_numbers_of_trials_are_refused(name, count, options, monkeypatch):
    """A chunk's share of too few values is what is left, or one value that serves every trial of the chunk."""
    points, labels = batch(trials=4)
    points = torch.from_numpy(points)
    stack = AttentionStack(2, **{name: torch.linspace(0.1, 0.6, count)[:, None, None]}, **options)
    monkeypatch.setattr(stack_module, "CPU_CHUNK_BYTES", 2 * 13 * 13 * 8)
    calls = (lambda: stack.measure(points, labels), lambda: stack(points), lambda: stack.prepare(points),
             lambda: stack.tokens(points[0]), lambda: stack.blocks[0](points))  # fmt: skip
    for call, trials in zip(calls, (4, 4, 4, 1, 4), strict=True):
        with pytest.raises(ValueError, match=rf"^{name}: has {count} values, one a trial, but points has {trials} tri"):
            call()
    several = points[:1].expand(count, -1, -1).expand(3, -1, -1, -1)
    assert stack.tokens(several).shape == several.shape, "axes before the trials' share the values"


def test_one_number_in_a_tensor_serves_every_trial():
    points, labels = batch()
    expected, tokens = AttentionStack(2, 0.3, 0.7).measure(points, labels), AttentionStack(2, 0.3, 0.7).tokens(points)
    for shape in ((), (1,), (1, 1, 1), (1, 1, 1, 1)):
        stack = AttentionStack(2, torch.full(shape, 0.3).double(), torch.full(shape, 0.7).double())
        assert_close(stack.measure(points, labels), expected, 1e-7)
        torch.testing.assert_close(stack.tokens(points), tokens, rtol=0, atol=1e-7)
        assert stack.tokens(points[0]).shape == points[0].shape


def assert_close(found, expected, tolerance):
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=tolerance)


def test_trace_and_truncated_output():
    points, _ = batch()
    stack = AttentionStack(2, 0.2, normalize="input")
    output, trace = stack(torch.from_numpy(points), return_trace=True)
    assert len(trace.points) == len(trace.affinities) == 3
    for tokens, affinity in zip(trace.points, trace.affinities):
        np.testing.assert_allclose(affinity, affinity_matrix(tokens.numpy(), 0.2), atol=1e-12)
    np.testing.assert_allclose(output, affinity_matrix(trace.points[-1].numpy(), 0.2, power=2), atol=1e-12)
    torch.testing.assert_close(stack(torch.from_numpy(points)), output)
    unsigned = AttentionStack(2, 0.2, normalize="input", signed=False)(torch.from_numpy(points))
    expected = affinity_matrix(trace.points[-1].numpy(), 0.2, power=2, signed=False)
    np.testing.assert_allclose(unsigned, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("normalize", "first", "second"), [("never", 3.0, None), ("input", 1.0, None), ("every", 1.0, 1.0)]
)
def test_where_tokens_are_normalized(normalize, first, second):
    points, _ = batch(trials=1, noise=0.2)
    points *= 3.0 / np.linalg.norm(points, axis=-1, keepdims=True)
    stack = AttentionStack(1, 0.1, normalize=normalize)
    torch.testing.assert_close(stack.prepare(points).norm(dim=-1), torch.full((1, 13), first, dtype=torch.float64))
    _, trace = stack(points, return_trace=True)
    assert trace.points[0].norm(dim=-1).max() == pytest.approx(first)
    # Averages of points that differ are shorter, unless they are normalized again.
    norms = trace.points[1].norm(dim=-1)
    assert torch.allclose(norms, torch.ones_like(norms)) if second else (norms < 0.999 * first).all()


def test_inputs_are_left_alone():
    points, labels = batch()
    tensor = torch.from_numpy(points.copy())
    stack = AttentionStack(3, 0.2)
    stack(tensor)
    stack.measure(tensor, labels)
    np.testing.assert_array_equal(tensor.numpy(), points)


def test_float32_agrees_within_its_precision():
    points, labels = batch(noise=0.2)
    exact = AttentionStack(3, 0.4).measure(torch.from_numpy(points), labels)
    single = AttentionStack(3, 0.4, dtype=torch.float32).measure(torch.from_numpy(points), labels)
    np.testing.assert_allclose(single.alpha, exact.alpha, atol=1e-5)


PRECISE = {"whole": {}, "tiled": {"tile_rows": 4}, "bias": {"normalize": "every", "bias_form": True},
           "unsigned": {"signed": False}, "power": {"power": 2.0, "tile_rows": 4},
           "map": {"query_key_map": torch.eye(7).double() + 0.1, "condition": 3.0}}  # fmt: skip


@pytest.mark.parametrize("options", PRECISE.values(), ids=PRECISE)
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_stored_and_computed_in_float32(half, options):
    """theory.md, section 0: what is said of numbers in half precision is what is said of them in float32."""
    points, labels = batch(noise=0.3)
    points = torch.from_numpy(points).to(half)
    threshold = torch.linspace(0.1, 0.4, 5)[:, None, None]
    single = AttentionStack(2, threshold, 0.3, dtype=torch.float32, **options)
    for stack in (AttentionStack(2, threshold, 0.3, dtype=half, **options),
                  AttentionStack(2, threshold, 0.3, dtype=torch.float32, **options).to(half)):  # fmt: skip
        assert stack.dtype == torch.float32
        for call in ("forward", "tokens", "prepare"):
            found = getattr(stack, call)(points)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, getattr(single, call)(points.float()), rtol=0, atol=1e-6)
        assert_close(stack.measure(points, labels), single.measure(points.float(), labels), 1e-6)
    block, wide = single.blocks[0], points.float()
    block_alone = block(points) if "tile_rows" not in options else mix_in_tiles(block, points, 4)
    torch.testing.assert_close(block_alone, block(wide), rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", PRECISE.values(), ids=PRECISE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_narrows_nothing(dtype, options):
    points, labels = batch(noise=0.3)
    points, threshold = torch.from_numpy(points).to(dtype), torch.linspace(0.1, 0.4, 5)[:, None, None]
    weights = torch.linspace(-1.0, 1.0, points.numel(), dtype=dtype).reshape(points.shape)
    stack = AttentionStack(2, threshold, 0.3, dtype=dtype, **options)

    def everything():
        x = points.clone().requires_grad_()
        moved = stack.tokens(x)
        yield from (stack.forward(x), moved, stack.prepare(x), stack.truncated_output(moved))
        yield from stack(x, return_trace=True)[1].affinities
        yield stack.blocks[0].attend(points).cosines
        yield stack.blocks[0](points)
        yield from (torch.from_numpy(each) for each in vars(stack.measure(points, labels)).values() if each.ndim)

    expected = list(everything())
    with torch.autocast("cpu", torch.bfloat16):
        found = list(everything())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    # A backward pass in tiles may come inside autocast too; products that torch itself goes back through may not.
    own = "power" not in options and "query_key_map" not in options
    gradients = []
    for enabled in (False, own):
        x = points.clone().requires_grad_()
        loss = (mix_in_tiles(stack.blocks[0], x, 4) * weights).sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss.backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:Complex modules")
@pytest.mark.parametrize("options", PRECISE.values(), ids=PRECISE)
def test_a_stack_computes_in_the_precision_it_was_moved_to(options):
    points, labels = batch(noise=0.3)
    threshold = torch.linspace(0.1, 0.4, 5).double()[:, None, None]
    for first, move, dtype in ((torch.float64, "float", torch.float32), (torch.float32, "double", torch.float64),
                               (torch.float64, "half", torch.float32), (torch.float64, "bfloat16", torch.float32),
                               (torch.float64, "cpu", torch.float64)):  # fmt: skip
        moved = getattr(AttentionStack(2, threshold, 0.3, dtype=first, **options), move)()
        expected = AttentionStack(2, threshold.to(first), 0.3, dtype=dtype, **options)
        assert moved.dtype == moved.tokens(points).dtype == moved(points).dtype == dtype
        assert {value.dtype for value in moved.state_dict().values()} == {dtype}
        torch.testing.assert_close(moved(points), expected(points), rtol=0, atol=1e-6)
        assert_close(moved.measure(points, labels), expected.measure(points, labels), 1e-6)
    inside = torch.nn.Sequential(AttentionStack(1, 0.1)).float()
    assert inside[0].dtype == inside(points).dtype == torch.float32
    for dtype in (torch.complex64, torch.int64, torch.bool, torch.float8_e4m3fn):
        with pytest.raises(ValueError, match=r"^dtype: expected one of float64, float32"):
            AttentionStack(1, 0.1, dtype=dtype)
    with pytest.raises(ValueError, match=r"^dtype: expected one of float64, float32"):
        AttentionStack(1, 0.1).to(torch.complex64)


@pytest.mark.parametrize("move", ["float", "half", "bfloat16"])
@pytest.mark.parametrize("threshold", [1e-6, torch.tensor([0.3, 1e-6]).double()[:, None, None]], ids=["one", "a trial"])
def test_a_bias_that_a_narrower_dtype_hides_is_refused_there(move, threshold):
    """As where the stack is made in it: no gradient would reach it."""
    options = {"normalize": "every", "bias_form": True}
    with pytest.raises(ValueError, match=r"^threshold: must lie in \(1e-05, 1\)") as made:
        AttentionStack(2, threshold, dtype=torch.float32, **options)
    stack = AttentionStack(2, threshold, **options)
    inside = torch.nn.Sequential(stack)
    for moved in (stack, inside):
        with pytest.raises(ValueError) as caught:
            getattr(moved, move)()
        assert str(caught.value) == str(made.value)
    assert stack.dtype == stack.blocks[0].bias.dtype == torch.float64
    with torch.no_grad():
        for block in stack.blocks[:-1]:
            block.bias.fill_(0.5)
    with pytest.raises(ValueError, match="threshold: must lie in"):
        getattr(stack, move)()
    with torch.no_grad():
        # A bias counts by its square.
        stack.blocks[-1].bias.fill_(-0.5)
    assert getattr(stack, move)().dtype == torch.float32
    with torch.no_grad():
        stack.blocks[0].bias.zero_()
    assert stack.double().to("cpu").dtype == torch.float64, "no wider dtype hides what was not hidden"


@pytest.mark.parametrize("kind", ACCELERATORS)
def test_an_accelerator_agrees_with_the_cpu(kind):
    points, labels = batch(noise=0.4)
    for options in ({}, {"normalize": "input", "query_key_map": torch.eye(points.shape[-1]).double()},
                    {"normalize": "every", "bias_form": True}, {"signed": False, "power": 2.0}):  # fmt: skip
        on_cpu = AttentionStack(3, 0.4, **options).measure(torch.from_numpy(points), labels)
        output = AttentionStack(3, 0.4, **options)(torch.from_numpy(points))
        with accelerator(kind) as device:
            stack = AttentionStack(3, 0.4, device=device, **options)
            there = stack.measure(torch.from_numpy(points), labels)
            torch.testing.assert_close(stack(torch.from_numpy(points)).cpu(), output, rtol=0, atol=1e-9)
        for name in FIELDS:
            np.testing.assert_allclose(getattr(there, name), getattr(on_cpu, name), atol=1e-9)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda p, y: AttentionStack(0), "depth"),
        (lambda p, y: AttentionStack(1, normalize="sometimes"), "normalize"),
        (lambda p, y: AttentionStack(1, bias_form=True), "bias_form"),
        (lambda p, y: AttentionStack(1, device="cuda:99"), "device: must be one of cpu"),
        (lambda p, y: AttentionStack(1, device="toaster"), "device: must be one of cpu"),
        (lambda p, y: AttentionStack(1, device="meta"), "device"),
        (lambda p, y: AttentionStack(1)(p * np.nan), "points: contains NaN"),
        (lambda p, y: AttentionStack(1)(p * 0.0), "points: contains a zero vector"),
        (lambda p, y: AttentionStack(1)(p[:, :1]), "points: a batch needs at least 2"),
        (lambda p, y: AttentionStack(1).measure(p[0], y), "points: expected shape"),
        (lambda p, y: AttentionStack(1).measure(p, y[:-1]), "labels: expected 13"),
        (lambda p, y: AttentionStack(1).measure(p, y * 0), "at least 2 clusters"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    points, labels = batch()
    with pytest.raises(ValueError, match=names):
        call(torch.from_numpy(points), labels)


def test_cpu_is_a_device():
    assert resolve_device("cpu") == torch.device("cpu")
    for name in ("cpu:99", "cpu:1", "", "meta", "nonsense", "cuda:4096", "cpu:-1"):
        with pytest.raises(ValueError, match=rf"^device: must be one of cpu.*got {re.escape(repr(str(name)))}"):
            resolve_device(name)
